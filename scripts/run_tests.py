"""Run every test: `make test`. Arguments choose among the parts; the last line is the sum over all."""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import clients
import environment
import installed
import postgres
import scale
from environment import CHECKOUT, Failure
from postgres import PROFILE

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin/pg_config")
# pgrx carries bindings of these majors; their headers are not asked for.
TYPE_CHECKED = (14, 16, 17)
LIBRARIES = ["--package=walia-core", "--package=walia-bench", "--package=walia-top"]


class Totals:
    """Sums what the parts report; a part that ends before its first test counts as one failure."""

    def __init__(self):
        self.passed = self.failed = 0

    def cargo_test(self, title, command, arguments, variables=os.environ):
        """Run a `cargo test`, show its output and add its results up."""
        announce(title)
        command = [*command, "--", *["--ignored"] * arguments.long, arguments.filter]
        passed = failed = 0
        with subprocess.Popen(command, cwd=CHECKOUT, env=variables, stdout=subprocess.PIPE, text=True) as tests:
            for line in tests.stdout:
                print(line, end="", flush=True)
                result = re.match(r"test result: \w+\. (\d+) passed; (\d+) failed", line)
                if result:
                    passed += int(result[1])
                    failed += int(result[2])
        self.passed += passed
        self.failed += failed if failed or tests.returncode == 0 else 1

    def check(self, title, function, *arguments):
        """Run a step that is a test of its own: it raises where it fails."""
        failed = self.failed
        self.step(title, function, *arguments)
        self.passed += self.failed == failed

    def step(self, title, function, *arguments):
        """Run a step that succeeds or raises; give its result, or None after a failure."""
        announce(title)
        try:
            return function(*arguments)
        except (Failure, subprocess.CalledProcessError) as failure:
            print(f"error: {failure}", file=sys.stderr, flush=True)
            self.failed += 1
            return None


def announce(title):
    print(f"\n==> {title}", flush=True)


def libraries(totals, arguments):
    """The tests of the crates that need no Postgres."""
    command = ["cargo", "test", f"--profile={PROFILE}", "--no-fail-fast", *LIBRARIES]
    totals.cargo_test("walia-core, walia-bench and walia-top", command, arguments)


def terminal(totals, variables, arguments):
    """The tests that drive walia-top in a pseudo-terminal."""
    command = ["cargo", "test", f"--profile={PROFILE}", "--package=walia-top", "--test=terminal"]
    totals.cargo_test("walia-top in a terminal", command, arguments, variables)


def cluster(totals, arguments):
    """The whole-cluster tests and pg_regress, on each Postgres there is."""
    installations = [postgres.chosen()]
    if not os.environ.get("PG_CONFIG"):
        if DEBIAN_15.exists() and postgres.Installation(DEBIAN_15).has_headers():
            installations.append(postgres.Installation(DEBIAN_15))
        else:
            announce("Postgres 15: skipped, as Debian's postgresql-server-dev-15 is not installed")
    # pg_upgrade's test on the newest takes over a cluster of the one before.
    servers = [(installation, server(totals, installation)) for installation in reversed(installations)
               if arguments.major in (None, installation.major)]
    older = None
    for installation, private in servers:
        if private is not None:
            cluster_on(totals, installation, private, older, arguments)
            older = private
            if not arguments.long and arguments.filter in "clients":
                with_clients(totals, private)
            if not arguments.long and arguments.filter in "scale" and installation.major == installations[0].major:
                totals.check(f"Postgres {installation.major}: make scale, with 20,000 rows", scale.check, private)


def server(totals, installation):
    """A private copy of a Postgres with walia in it; None where that fails."""
    library = totals.step(f"Postgres {installation.major}: compile walia", postgres.build, installation, PROFILE, "--tests")
    if library is None:
        return None
    totals.check(f"Postgres {installation.major}: install and uninstall below a root", installed.check_install, installation, library)
    private = installation.private_copy(environment.directory() / "test" / f"pg{installation.major}" / "server")
    postgres.install(library, private)
    return private


def cluster_on(totals, installation, private, older, arguments):
    clusters = environment.directory() / "test" / f"pg{installation.major}" / "clusters"
    remove_clusters(clusters)
    user = environment.server_user()
    command, variables = postgres.cargo(installation, "test", f"--profile={PROFILE}", "--test=*")
    variables |= {
        "WALIA_TEST_PG_CONFIG": str(private.pg_config),
        "WALIA_TEST_DIRECTORY": str(environment.give_to_server_user(clusters)),
        "WALIA_TEST_OUTPUT": str(postgres.CARGO_TARGET / f"pg{installation.major}" / "pg_regress"),
        "WALIA_TEST_USER": f"{user.pw_uid}:{user.pw_gid}" if user else "",
        "WALIA_DATA": os.environ.get("WALIA_DATA", str(CHECKOUT.parent / "shared" / "data")),
    }
    if older is not None:
        variables["WALIA_TEST_OLD_BINDIR"] = str(older.bindir)
    totals.cargo_test(f"Postgres {installation.major}: whole-cluster tests and pg_regress", command, arguments, variables)
    # Once, on the newest.
    if installation.major == postgres.chosen().major and not arguments.long:
        terminal(totals, variables, arguments)
    if not totals.failed:
        remove_clusters(clusters)


def with_clients(totals, installation):
    """What other languages' clients do with walia, where pgvector and the clients are to be had."""
    title = f"Postgres {installation.major}: clients"
    try:
        missing = clients.missing(installation)
    except Failure as failure:
        missing = str(failure)
    if missing:
        announce(f"{title}: skipped: {missing}")
        return
    passed, failed = totals.step(title, clients.short, installation) or (0, 0)
    totals.passed += passed
    totals.failed += failed


def remove_clusters(clusters):
    """Remove what tests left behind, and end the servers of those that were interrupted."""
    for lock in clusters.glob("*/data/postmaster.pid"):
        postgres.stop_server(lock.parent)
    shutil.rmtree(clusters, ignore_errors=True)


def majors(totals, _arguments):
    """Type-check the extension for majors without headers, from the bindings that pgrx carries."""
    for major in TYPE_CHECKED:
        command = ["cargo", "check", "--quiet", "--package=walia", f"--features=pg{major}"]
        command.append(f"--target-dir={postgres.CARGO_TARGET / 'majors'}")
        variables = {**os.environ, "DOCS_RS": "1", "RUSTC_WRAPPER": str(CHECKOUT / "scripts" / "rustc-docsrs")}
        if totals.step(f"Postgres {major}: type check", lambda: subprocess.run(command, cwd=CHECKOUT, env=variables, check=True)):
            totals.passed += 1


def metadata(totals, _arguments):
    """Whether the files for packagers say what the others do."""
    totals.check("META.json and debian/", installed.check_metadata)


PARTS = {"metadata": metadata, "libraries": libraries, "cluster": cluster, "majors": majors}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="default: all of them")
    parser.add_argument("--major", type=int, help="whole-cluster tests on this Postgres only")
    parser.add_argument("--filter", default="", help="only tests whose path contains this")
    parser.add_argument("--long", action="store_true", help="the tests that are ignored for their length, and only those")
    arguments = parser.parse_args()
    environment.require_tools("cargo", "cc")
    totals = Totals()
    for name in arguments.parts or PARTS:
        PARTS[name](totals, arguments)
    print(f"\n{totals.passed} passed, {totals.failed} failed", flush=True)
    return 1 if totals.failed or not totals.passed else 0


environment.main(main)
