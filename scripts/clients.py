"""Run what other languages' clients do with walia: `make clients`; `make test` runs the short part, `short`.

pgvector-python's own tests, with nothing changed but the access method's name; the snippets of
docs/CLIENTS.md; tests of frameworks that store vectors; and pgvector-node's tests from a clone of it, as its
packages hold none.
"""

import getpass
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import environment
import postgres
from environment import CHECKOUT, Failure

TESTS = CHECKOUT / "tests" / "clients"
PGVECTOR_PYTHON = "pgvector==0.5.1"
# The method's name as the tests of the clients write it.
METHOD = (r"(USING )hnsw\b", r"(using=')hnsw(?=')", r"(\.using\(')hnsw(?=')", r"(using: ')hnsw(?=')", r"(type: ')hnsw(?=')",
          r"((?:embedding|_idx)', ')hnsw(?=')")
# Its archive leaves this file out, of which the tests have numpy. The index for Django has the method's name
# in its class.
CONFTEST = "import numpy\nimport pgvector.django\n\npgvector.django.HnswIndex.suffix = 'walia_hnsw'\n"


def kept(name, key, make):
    """A directory below the private one that `make` fills at first; another key is another directory."""
    target = environment.directory() / "packages" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    if not target.exists():
        print(f"downloading {name}", flush=True)
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make(partial)
        partial.rename(target)
    return target


def download(*command, **options):
    """Run a package manager; without its registry this is a failure with a reason."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command[:4]))} …: {done.stdout.strip()[-600:]}")


def python_packages(name):
    """The directory of the packages that a list of requirements names, dependencies and all."""
    requirements = TESTS / f"requirements-{name}.txt"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    return kept(f"clients-{name}", f"{sys.version} {requirements.read_text()}",
                lambda target: download(*pip, "--target", target, "-r", requirements))


def pgvector_python():
    """The sources of pgvector-python, with its tests."""
    def make(target):
        download(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", target, PGVECTOR_PYTHON)
        (archive,) = target.glob("*.tar.gz")
        subprocess.run(["tar", "-xzf", archive, "-C", target, "--strip-components=1"], check=True)
    return kept("pgvector-python", PGVECTOR_PYTHON, make)


def missing(installation):
    """Why the short part cannot run here, or None; downloads what it needs."""
    if not Path(installation.ask("sharedir"), "extension", "vector.control").exists():
        return "this Postgres has no pgvector"
    python_packages("pgvector")
    pgvector_python()
    return None


class Database:
    """A private server that clients reach by TCP, as their tests demand; variables tell them where."""

    def __init__(self, installation):
        self.server = postgres.Server(installation, environment.directory() / "clients" / "cluster")

    def __enter__(self):
        self.server.stop()
        shutil.rmtree(self.server.home, ignore_errors=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        user = getpass.getuser()
        # Each plan is logged: what is checked is the plan of the statement that the client has sent.
        self.server.create({
            "listen_addresses": "127.0.0.1", "port": port, "session_preload_libraries": "auto_explain",
            "auto_explain.log_min_duration": 0, "fsync": "off",
        })
        self.variables = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": user}
        os.environ |= self.variables
        try:
            self.server.start()
            self.server.psql(f'CREATE ROLE "{user}" SUPERUSER LOGIN' if user != "postgres" else "SELECT 1")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # Servers that are started later would take the port from it.
        for name in self.variables:
            os.environ.pop(name, None)
        self.server.stop()
        shutil.rmtree(self.server.home, ignore_errors=True)

    def create(self, name, extension):
        self.server.psql(f"CREATE DATABASE {name}")
        self.server.psql(f"CREATE EXTENSION {extension} CASCADE", name)

    def method_used(self, name):
        """Fail unless a client's tests have made indexes of walia's, and none of pgvector's hnsw."""
        counts = self.server.psql(
            "SELECT count(*) FILTER (WHERE amname = 'walia_hnsw'), count(*) FILTER (WHERE amname = 'hnsw')"
            " FROM pg_class c JOIN pg_am a ON a.oid = c.relam", name).split()
        if counts[0] == "0" or counts[1] != "0":
            raise Failure(f"{name}: {counts[0]} indexes of walia_hnsw and {counts[1]} of hnsw")


def run(title, command, pattern, **options):
    """Run a client's test runner and give the numbers of tests that passed and failed, by its summary."""
    print(f"\n{title}", flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    counts = {word: int(number) for first, second in re.findall(pattern, done.stdout)
              for word, number in [(first, second) if second.isdigit() else (second, first)]}
    passed, failed = counts.get("passed", counts.get("pass", 0)), counts.get("failed", counts.get("fail", 0)) + counts.get("errors", 0)
    # A runner that breaks off counts as a failure.
    if done.returncode != 0 or not passed:
        failed = max(failed, 1)
        print(done.stdout[-6000:])
    print(f"{title}: {passed} passed, {failed} failed", flush=True)
    return passed, failed


def pytest(title, packages, directory, *arguments, **variables):
    """Run pytest on a directory with the packages of a list."""
    path = os.pathsep.join([str(python_packages(packages)), str(TESTS)])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *arguments]
    return run(title, command, r"(\d+) (passed|failed|errors?)\b", cwd=directory,
               env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **variables})


def rename_method(sources, target):
    """Copy a client's tests with the method's name replaced, and the port where PGPORT does not say it."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(sources, target, ignore=shutil.ignore_patterns("*.tar.gz", ".git"))
    for path in [*target.glob("tests/*.py"), *target.glob("tests/*.js")]:
        text = path.read_text()
        for pattern in METHOD:
            text = re.sub(pattern, r"\1walia_hnsw", text)
        text = re.sub(r"(\bConnection\(getuser\(\), |//(?:.*@)?localhost(?=/)|user: process.env\['USER'\])", with_port, text)
        path.write_text(text)
    return target


def with_port(found):
    """What the tests of pg8000, Sequelize and MikroORM say, and the port."""
    port = os.environ["PGPORT"]
    if found[0].startswith("//"):
        return f"{found[0]}:{port}"
    return f"user: process.env['PGUSER'], port: {port}" if found[0].startswith("user") else f"{found[0]}port={port}, "


def pgvector_python_suite(database):
    database.create("pgvector_python_test", "walia_pgvector")
    # The tests are to import the package that is installed.
    suite = rename_method(pgvector_python(), database.server.home / "pgvector-python")
    shutil.rmtree(suite / "pgvector")
    (suite / "tests" / "conftest.py").write_text(CONFTEST)
    (suite / "tests" / "__init__.py").touch()
    counts = pytest("pgvector-python's tests", "pgvector", suite, "tests", PGHOST="localhost")
    database.method_used("pgvector_python_test")
    return counts


def own_tests(database, title, packages, *files):
    name = f"clients_{packages}"
    database.create(name, "walia_pgvector")
    return pytest(title, packages, TESTS, *files, PGDATABASE=name, WALIA_SERVER_LOG=str(database.server.log))


def pgvector_node_suite(database, clone):
    """All but the tests of prisma, which downloads an engine of its own."""
    suite = rename_method(clone, database.server.home / "pgvector-node")
    (suite / "tests" / "prisma.test.js").unlink()
    download("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", cwd=suite)
    database.create("pgvector_node_test", "walia_pgvector")
    counts = run("pgvector-node's tests", ["node", "--test"], r"(pass|fail) (\d+)", cwd=suite, env={**os.environ, "PGHOST": "localhost"})
    database.method_used("pgvector_node_test")
    return counts


def total(*counts):
    return sum(passed for passed, _ in counts), sum(failed for _, failed in counts)


def short(installation):
    """The part that `make test` runs; gives the numbers of tests that passed and failed."""
    with Database(installation) as database:
        return total(
            pgvector_python_suite(database),
            own_tests(database, "docs/CLIENTS.md and Django", "pgvector", "test_documents.py", "test_django.py"),
        )


def main():
    installation = postgres.chosen()
    private = installation.private_copy(environment.directory() / "clients" / "server")
    postgres.install(postgres.build(installation, postgres.PROFILE, "--tests"), private)
    if reason := missing(private):
        raise Failure(reason)
    counts = [short(private)]
    with Database(private) as database:
        counts.append(own_tests(database, "LangChain and LlamaIndex", "frameworks", "test_langchain.py", "test_llama_index.py"))
        if clone := (sys.argv[1:] or [""])[0]:
            counts.append(pgvector_node_suite(database, Path(clone)))
        else:
            print("pgvector-node: skipped; name a clone of it, PGVECTOR_NODE=dir")
    passed, failed = total(*counts)
    print(f"\n{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    environment.main(main)
