"""Run pgvector's regression tests against walia: `make peer-suite PGVECTOR=dir`, a clone elsewhere.

They run on walia_pgvector, where the method's name alone is replaced, and its TAP tests too; and on walia's
own types, with all names replaced in the scripts and in their expected output. psql runs the scripts as
pg_regress would. Only the differences in the tables in CONTRIBUTING.md, each with its reason, are allowed.
"""

import difflib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import environment
import peer_tap
import postgres
from environment import CHECKOUT, Failure

# Sections of a script, headed by a comment, about types that walia does not have of its own.
LEFT_OUT = re.compile(r"^-- .*\b(sparsevec|bit)\b")
HEADING = "### "


class Suite(NamedTuple):
    """Scripts, run in databases with an extension after names have been replaced."""

    extension: str
    scripts: tuple
    names: tuple
    left_out: re.Pattern | None

    def rename(self, text):
        for pattern, replacement in self.names:
            text = re.sub(pattern, replacement, text)
        return text

    def read(self, path):
        """The lines of a script or of its output, renamed and without the sections that are left out."""
        return sections(self.rename(path.read_text()).splitlines(), self.left_out)


SUITES = (
    Suite("walia_pgvector", ("hnsw_vector", "hnsw_halfvec", "hnsw_bit", "hnsw_sparsevec"), ((r"\bUSING hnsw\b", "USING walia_hnsw"),), None),
    Suite("walia", ("vector_type", "halfvec", "cast", "copy", "btree", "hnsw_vector", "hnsw_halfvec"), (
        (r"\bhnsw\.", "walia."),
        (r"\bhnsw\b", "walia_hnsw"),
        (r"\barray_to_vector\b", "array_to_vecf32"),
        (r"\barray_to_halfvec\b", "array_to_vecf16"),
        (r"\bvector(?=\b|_(l2|ip|cosine|l1)_ops\b|_(cmp|avg|accum|combine)\b)", "vecf32"),
        (r"\bhalfvec(?=\b|_(l2|ip|cosine|l1)_ops\b|_(cmp|avg|accum|combine)\b)", "vecf16"),
    ), LEFT_OUT),
)


def sections(lines, left_out):
    """The lines without the sections that are left out."""
    kept = True
    for line in lines:
        if line.startswith("-- "):
            kept = not (left_out and left_out.match(line))
        if kept:
            yield line


def statements(output, script):
    """Splits output into pairs of a line of the script and the lines after it, spaces made comparable."""
    echoes = iter(line for line in script if line.strip())
    expected_echo = next(echoes, None)
    found = []
    for line in output:
        if line == expected_echo:
            found.append((line, []))
            expected_echo = next(echoes, None)
        elif found:
            words = " ".join(line.split())
            # The rule below a heading is as long as the longest name.
            found[-1][1].append("---" if re.fullmatch(r"[-+]+", words) else words)
    return found


def allowed_differences(title):
    """A table in CONTRIBUTING.md: a fragment of a statement, a pattern of lines that differ, the reason."""
    text = (CHECKOUT / "CONTRIBUTING.md").read_text().partition(f"\n{HEADING}{title}\n")[2]
    rows = re.findall(r"^\| `(.+?)` \| `(.+?)` \| (.+?) \|$", re.split(r"\n##", text)[0], re.MULTILINE)
    return [(fragment, pattern.replace(r"\|", "|"), reason) for fragment, pattern, reason in rows]


def compare(name, expected, actual, allowed):
    """Prints what differs; gives the entries of the table that were needed and how much else differs."""
    used, unexpected = set(), 0
    for (statement, before), (_, after) in zip(expected, actual, strict=True):
        difference = list(difflib.unified_diff(before, after, "pgvector", "walia", lineterm="", n=0))
        lines = [line[1:] for line in difference[2:] if not line.startswith("@@")]
        for entry in allowed:
            if entry[0] in statement and all(re.fullmatch(entry[1], line) for line in lines):
                used |= {entry} if lines else set()
                break
        else:
            if lines:
                unexpected += 1
                print(f"\n{name}: {statement}", *difference, sep="\n")
    return used, unexpected


def run(suite, server, tests, work):
    """Run a suite's scripts; gives the number of differences that no table allows."""
    allowed, used, unexpected = allowed_differences(suite.extension), set(), 0
    for name in suite.scripts:
        database = f"{suite.extension}_{name}"
        server.psql(f"CREATE DATABASE {database}")
        server.psql(f"CREATE EXTENSION {suite.extension} CASCADE", database)
        script = list(suite.read(tests / "sql" / f"{name}.sql"))
        done = subprocess.run(
            [*server.psql_command(database), "-X", "-a", "-q"],
            input="\n".join(script) + "\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=work, env={**os.environ, "PGTZ": "PST8PDT"}, text=True, check=False,
        )
        expected = statements(suite.read(tests / "expected" / f"{name}.out"), script)
        needed, differences = compare(name, expected, statements(done.stdout.splitlines(), script), allowed)
        print(f"{suite.extension}, {name}: {differences} unexpected differences", flush=True)
        used |= needed
        unexpected += differences
    return unexpected + unused(suite.extension, allowed, used)


def unused(title, allowed, used):
    """Prints the entries of a table that nothing needed, and gives their number."""
    for entry in sorted(set(allowed) - used):
        print(f"{title}: no longer differs, remove it from CONTRIBUTING.md: {entry[0]}")
    print(f"{title}: {len(used)} allowed differences")
    return len(set(allowed) - used)


def main():
    if len(sys.argv) != 2 or not Path(sys.argv[1], "test", "sql").is_dir():
        raise Failure("name a clone of pgvector: make peer-suite PGVECTOR=dir")
    tests = Path(sys.argv[1], "test")
    home = environment.directory() / "peer"
    installation = postgres.chosen()
    library = postgres.build(installation)
    server = postgres.Server(installation.private_copy(home / "server"), home / "cluster")
    postgres.install(library, server.installation)
    server.stop()
    shutil.rmtree(server.home, ignore_errors=True)
    work = home / "work"
    (work / "results").mkdir(parents=True, exist_ok=True)
    server.create({})
    server.start()
    try:
        unexpected = sum(run(suite, server, tests, work) for suite in SUITES)
        server.stop()
        allowed = allowed_differences("TAP tests")
        used, passed, failed = peer_tap.run(tests, server.installation, home, allowed)
        print(f"TAP tests: {passed} passed, {failed} unexpected failures")
        unexpected += failed + unused("TAP tests", allowed, used)
    finally:
        server.stop()
        shutil.rmtree(home)
    print(f"{unexpected} unexpected")
    return 1 if unexpected else 0


if __name__ == "__main__":
    environment.main(main)
