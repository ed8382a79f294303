"""Build Debian packages for the majors whose headers are installed, and try them: `make package`.

The sources of the working tree become a Debian source package, of which dpkg-buildpackage makes the others.
Each is tried in a copy of its Postgres, and as root, where debootstrap is there, in a Debian of its own with
nothing but Postgres.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import environment
import installed
import postgres
from environment import CHECKOUT, Failure

TRIAL = """
CREATE EXTENSION walia;
CREATE TABLE item AS SELECT i AS id, ARRAY[sin(i), cos(i), sin(i * 0.7)]::vecf32(3) AS v FROM generate_series(1, 20000) i;
CREATE INDEX item_v ON item USING walia_hnsw (v);
ANALYZE item;
SELECT count(*) FROM (SELECT id FROM item ORDER BY v <~> '[0.1, 0.2, 0.3]' LIMIT 10) AS nearest;
EXPLAIN (COSTS OFF) SELECT id FROM item ORDER BY v <~> '[0.1, 0.2, 0.3]' LIMIT 10;
SELECT name, requires FROM pg_available_extension_versions WHERE name = 'walia_pgvector';
"""


def check_trial(output):
    """Fail unless the trial's statements found rows by the index, and the second extension's control file."""
    lines = output.split("\n")
    if lines[0] != "10" or "Index Scan using item_v on item" not in output or "{walia,vector}" not in output:
        raise Failure(f"the installed package does not work:\n{output}")


def source_package(home):
    """Lay out the sources and the archive that Debian calls original; gives the directory of the sources."""
    version = installed.version("walia.control")
    sources = home / f"walia-{version}"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        target = sources / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, target)
    archive = home / f"walia_{version}.orig.tar.gz"
    subprocess.run(["tar", "-C", home, "--exclude=debian", "-czf", archive, sources.name], check=True)
    return sources


def build_packages(home, sources):
    """The binary packages by major."""
    variables = {
        **os.environ, **environment.libclang_variables(),
        "PG_SUPPORTED_VERSIONS": "installed",
        "CARGO_TARGET_DIR": str(home / "target"),
        # debhelper gives the build another home directory.
        "CARGO_HOME": os.environ.get("CARGO_HOME", str(Path.home() / ".cargo")),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup")),
    }
    # Unchecked: Rust and libclang need not be Debian's.
    command = ["dpkg-buildpackage", "--no-check-builddeps", "--unsigned-source", "--unsigned-changes"]
    if subprocess.run(command, cwd=sources, env=variables, check=False).returncode != 0:
        raise Failure("dpkg-buildpackage: see above")
    packages = {}
    for path in home.glob("postgresql-*-walia_*.deb"):
        packages[int(re.match(r"postgresql-(\d+)-", path.name)[1])] = path
    if not packages:
        raise Failure("no package was built: is postgresql-server-dev-NN installed?")
    return packages


def try_in_copy(home, major, package):
    """Unpack a package over a copy of its Postgres and use it there; it must hold all and nothing else."""
    installation = postgres.Installation(f"/usr/lib/postgresql/{major}/bin/pg_config")
    unpacked = home / f"unpacked-{major}"
    subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True)
    found = {path for path in installed.files_below(unpacked) if not path.startswith("/usr/share/doc/")}
    installed.compare(package.name, found, installed.installed_files(installation))
    if not Path(installation.bindir, "initdb").exists():
        print(f"Postgres {major}: not tried, as only its headers are installed")
        return
    private = installation.private_copy(home / f"server-{major}")
    for word in installed.FILES:
        shutil.copytree(f"{unpacked}{installation.ask(word)}", private.ask(word), dirs_exist_ok=True)
    server = postgres.Server(private, home / f"cluster-{major}")
    server.create({})
    server.start()
    try:
        check_trial(server.psql(TRIAL))
    finally:
        server.stop()
    print(f"Postgres {major}: works in a copy of the server", flush=True)


def try_in_clean_root(home, major, package):
    """Install a package into a Debian of its own with nothing but Postgres, use it, and purge it."""
    root = home / f"root-{major}"
    release = dict(re.findall(r"^(\w+)=\"?([^\"\n]*)", Path("/etc/os-release").read_text(), re.MULTILINE))
    server = f"postgresql-{major}"

    def inside(*command, **options):
        return subprocess.run(["chroot", root, *command], check=True, capture_output=True, text=True, **options).stdout

    with open(home / "debootstrap.log", "w", encoding="utf-8") as log:
        command = ["debootstrap", "--variant=minbase", f"--include={server}", release["VERSION_CODENAME"], root]
        if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode != 0:
            raise Failure(f"debootstrap failed: {log.name}")
    before = installed.files_below(root / "usr")
    shutil.copy(package, root / "package.deb")
    inside("dpkg", "--install", "/package.deb")
    # By pg_ctl, and memory of the root's own: neither /proc nor /dev/shm is mounted there. Nobody connects
    # but by the socket.
    options = f"-c config_file=/etc/postgresql/{major}/main/postgresql.conf -c listen_addresses= -c dynamic_shared_memory_type=mmap"
    control = f"/usr/lib/postgresql/{major}/bin/pg_ctl -D /var/lib/postgresql/{major}/main -w -l /tmp/log"
    inside("su", "postgres", "-c", f"{control} -o '{options}' start")
    try:
        check_trial(inside("su", "postgres", "-c", "psql -X -q -A -t -v ON_ERROR_STOP=1", input=TRIAL))
    finally:
        inside("su", "postgres", "-c", f"{control} -m fast stop")
    inside("dpkg", "--purge", f"{server}-walia")
    installed.compare("left by purge", installed.files_below(root / "usr"), before)
    shutil.rmtree(root)
    print(f"Postgres {major}: installed, works and is removed in a {release['PRETTY_NAME']} of its own", flush=True)


def main():
    for command in ("dpkg-buildpackage", "dh", "pg_buildext", "git"):
        if shutil.which(command) is None:
            raise Failure(f"{command} is needed (Debian packages dpkg-dev, debhelper, postgresql-server-dev-all and git)")
    home = environment.directory() / "package"
    for path in home.glob("*") if home.exists() else ():
        if path.name != "target":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    home.mkdir(exist_ok=True)
    packages = build_packages(home, source_package(home))
    for major, package in sorted(packages.items()):
        try_in_copy(home, major, package)
        if os.geteuid() == 0 and shutil.which("debootstrap"):
            try_in_clean_root(home, major, package)
        else:
            print(f"Postgres {major}: not tried in a Debian of its own, which needs root and debootstrap")
    for package in packages.values():
        print(f"built {package}")


environment.main(main)
