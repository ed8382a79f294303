"""Run pgvector's regression tests against walia: `make peer-suite PGVECTOR=dir`, a clone outside this repository.

The names in the scripts and in their expected output are replaced by walia's, and psql runs them as pg_regress would.
Only the differences in a table in CONTRIBUTING.md, each with its reason, are allowed.
"""

import difflib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import environment
import postgres
from environment import CHECKOUT, Failure

SCRIPTS = ("vector_type", "halfvec", "cast", "copy", "btree", "hnsw_vector", "hnsw_halfvec")
# Sections of a script, headed by a comment, about types that walia does not have.
LEFT_OUT = re.compile(r"^-- .*\b(sparsevec|bit)\b")
NAMES = (
    (r"\bhnsw\.", "walia."),
    (r"\bhnsw\b", "walia_hnsw"),
    (r"\barray_to_vector\b", "array_to_vecf32"),
    (r"\barray_to_halfvec\b", "array_to_vecf16"),
    (r"\bvector(?=\b|_(l2|ip|cosine|l1)_ops\b|_(cmp|avg|accum|combine)\b)", "vecf32"),
    (r"\bhalfvec(?=\b|_(l2|ip|cosine|l1)_ops\b|_(cmp|avg|accum|combine)\b)", "vecf16"),
)
DIFFERENCES_HEADING = "## Differences from pgvector's tests"


def rename(text):
    for pattern, replacement in NAMES:
        text = re.sub(pattern, replacement, text)
    return text


def sections(lines):
    """The lines without the sections that are left out."""
    kept = True
    for line in lines:
        if line.startswith("-- "):
            kept = not LEFT_OUT.match(line)
        if kept:
            yield line


def statements(output, script):
    """Splits output into pairs of a line of the script and the lines that followed it, spaces made comparable."""
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


def allowed_differences():
    """The table in CONTRIBUTING.md: a fragment of a statement, a pattern of the lines that differ, and the reason."""
    text = (CHECKOUT / "CONTRIBUTING.md").read_text().partition(DIFFERENCES_HEADING)[2]
    return re.findall(r"^\| `(.+?)` \| `(.+?)` \| (.+?) \|$", text.partition("\n## ")[0], re.MULTILINE)


def compare(name, expected, actual, allowed):
    """Prints what differs; gives the entries of the table that were needed and the number of other differences."""
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
    allowed = allowed_differences()
    used, unexpected = set(), 0
    server.create({})
    server.start()
    try:
        for name in SCRIPTS:
            database = f"peer_{name}"
            server.psql(f"CREATE DATABASE {database}")
            server.psql("CREATE EXTENSION walia", database)
            script = list(sections(rename((tests / "sql" / f"{name}.sql").read_text()).splitlines()))
            expected = sections(rename((tests / "expected" / f"{name}.out").read_text()).splitlines())
            run = subprocess.run(
                [*server.psql_command(database), "-X", "-a", "-q"],
                input="\n".join(script) + "\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                cwd=work, env={**os.environ, "PGTZ": "PST8PDT"}, text=True, check=False,
            )
            needed, differences = compare(
                name, statements(expected, script), statements(run.stdout.splitlines(), script), allowed
            )
            print(f"{name}: {differences} unexpected differences", flush=True)
            used |= needed
            unexpected += differences
    finally:
        server.stop()
        shutil.rmtree(home)
    for entry in set(allowed) - used:
        print(f"no longer differs, remove it from CONTRIBUTING.md: {entry[0]}")
        unexpected += 1
    print(f"{len(used)} allowed differences, {unexpected} unexpected")
    return 1 if unexpected else 0


environment.main(main)
