"""pgvector's TAP tests on walia_pgvector, with the method's name and its extension's changed.

They need Perl's IPC::Run and PostgreSQL::Test (Debian packages libipc-run-perl and postgresql-server-dev-NN).
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import environment
from environment import Failure

# Tests of other methods.
LEFT_OUT = re.compile(r"ivfflat")
NAMES = (
    (r"\bUSING hnsw\b", "USING walia_hnsw"),
    (r"\bCREATE EXTENSION vector\b", "CREATE EXTENSION walia_pgvector CASCADE"),
)


def modules(installation):
    """The directory of PostgreSQL::Test: this Postgres's own, or another one's."""
    below = "src/test/perl"
    own = Path(installation.ask("pgxs")).parent.parent.parent / below
    others = sorted(Path("/usr/lib/postgresql").glob(f"*/lib/pgxs/{below}"), reverse=True)
    for directory in (own, *others):
        if (directory / "PostgreSQL" / "Test" / "Cluster.pm").exists():
            return directory
    raise Failure("Perl's PostgreSQL::Test is needed (Debian package postgresql-server-dev-NN)")


def failures(script, output):
    """The source lines of the tests that failed, and how the script ended where that was not by its plan."""
    source = script.read_text().splitlines()
    # Test::More tells the line below the name, which may be on a line of its own.
    lines = re.findall(rf"^#\s+(?:Failed test.*)?at \S*{re.escape(script.name)} line (\d+)\.", output, re.MULTILINE)
    found = [source[int(number) - 1].strip() for number in lines]
    if not re.search(r"^1\.\.\d+$", output, re.MULTILINE):
        found.append("ended before its last test")
    return found


def run(tests, installation, home, allowed):
    """Run the scripts; gives the entries of the table that were needed, and how many passed and did not."""
    perl = modules(installation)
    work = environment.give_to_server_user(home / "tap")
    regress = Path(installation.ask("pgxs")).parent.parent / "test" / "regress" / "pg_regress"
    variables = {
        **os.environ, "PATH": f"{installation.bindir}{os.pathsep}{os.environ['PATH']}", "PG_REGRESS": str(regress),
        "TESTDIR": str(work), "TESTDATADIR": str(work / "data"), "TESTLOGDIR": str(work / "log"), "HOME": str(work), "PGPORT": "65432",
    }
    used, passed, unexpected = set(), 0, 0
    for path in sorted((tests / "t").glob("*.pl")):
        if LEFT_OUT.search(path.name):
            continue
        text = path.read_text()
        for pattern, replacement in NAMES:
            text = re.sub(pattern, replacement, text)
        script = work / path.name
        script.write_text(text)
        command = [*environment.as_server_user(), "perl", f"-I{perl}", script]
        done = subprocess.run(command, cwd=work, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        right = len(re.findall(r"^ok \d+", done.stdout, re.MULTILINE))
        wrong = 0
        for line in failures(script, done.stdout):
            entry = next((entry for entry in allowed if entry[0] in path.name and entry[1] in line), None)
            if entry:
                used.add(entry)
            else:
                wrong += 1
                print(f"{path.name}: {line}")
        if wrong:
            print(done.stdout[-3000:])
        print(f"{path.name}: {right} passed, {wrong} unexpected failures", flush=True)
        passed += right
        unexpected += wrong
        shutil.rmtree(work / "tmp_check", ignore_errors=True)
    return used, passed, unexpected
