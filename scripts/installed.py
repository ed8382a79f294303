"""What an installation of walia consists of, and whether other lists of it agree: a part of `make test`."""

import json
import re
import tempfile
from pathlib import Path

import postgres
from environment import CHECKOUT, Failure

# Every file that is installed, by the pg_config word of its directory.
FILES = {
    "pkglibdir": ("walia.so",),
    "sharedir": (
        "extension/walia.control",
        "extension/walia--0.1.0.sql",
        "extension/walia--0.1.0--0.2.0.sql",
        "extension/walia_pgvector.control",
        "extension/walia_pgvector--0.1.0.sql",
    ),
}


def installed_files(installation):
    """The absolute paths of what a package for this Postgres holds."""
    return {f"{installation.ask(word)}/{name}" for word, names in FILES.items() for name in names}


def files_below(root):
    """The files below a root, as absolute paths in it."""
    return {f"/{path.relative_to(root)}" for path in Path(root).rglob("*") if not path.is_dir()}


def compare(what, found, expected):
    """Fail with the difference of two sets of paths."""
    if found != expected:
        raise Failure(f"{what}: too many {sorted(found - expected)}, missing {sorted(expected - found)}")


def check_install(installation, library):
    """Install below a root and uninstall again: all that belongs there, and then nothing."""
    with tempfile.TemporaryDirectory() as root:
        reported = postgres.install(library, installation, root)
        compare("installed", files_below(root), installed_files(installation))
        compare("reported", {f"/{path.relative_to(root)}" for path in reported}, installed_files(installation))
        postgres.uninstall(installation, root)
        compare("left behind", files_below(root), set())


def version(control):
    """The default version of a control file."""
    return re.search(r"^default_version = '(.+)'$", (CHECKOUT / control).read_text(), re.MULTILINE)[1]


def check_metadata():
    """Compare META.json and debian/changelog with the control files and with Cargo.toml."""
    meta = json.loads((CHECKOUT / "META.json").read_text())
    crate = re.search(r'^version = "(.+)"$', (CHECKOUT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    debian = re.match(r"walia \((.+)-\d+\)", (CHECKOUT / "debian" / "changelog").read_text())[1]
    controls = {path.stem for path in CHECKOUT.glob("*.control")}
    versions = {"Cargo.toml": crate, "META.json": meta["version"], "debian/changelog": debian}
    wrong = [f"{name} says {said}" for name, said in versions.items() if said != version("walia.control")]
    if meta["provides"].keys() != controls:
        wrong.append(f"META.json provides {sorted(meta['provides'])}, and there are control files of {sorted(controls)}")
    for name, extension in meta["provides"].items():
        wrong += [f"META.json: no file {extension[key]}" for key in ("file", "docfile") if not (CHECKOUT / extension[key]).exists()]
        if extension["version"] != version(extension["file"]):
            wrong.append(f"META.json says {extension['version']} of {name}")
    if wrong:
        raise Failure("\n".join(wrong))
