"""Formatting, clippy, documentation, and the rules of CONTRIBUTING.md that can be checked: `make lint`.

Every warning is an error.
"""

import os
import re
import subprocess

import environment
import layers
import postgres
from environment import CHECKOUT, Failure

DENY = ["--", "-D", "warnings"]
# Files of the extension without unsafe code.
SAFE = (r"error\.rs|(store|am|observe)/mod\.rs|am/(last|build/sample)\.rs|plan/(execution|merge|totals)\.rs"
        r"|types/(?!(call|coercion|datum|decimal|functions)\.rs).*|observe/(advise/(catalog|judge|mod)|check|info|last_scan|prewarm|page_map/.*)\.rs")
# The longest block of unsafe code: one proof for a few lines, or for a call with many arguments.
UNSAFE_LINES = 14
# Lines of comments and documentation have at most so many characters, as rustfmt allows for code.
COMMENT_WIDTH = 110
COMMENTS = {".rs": "//", ".py": r'#|"""', ".sql": "--", ".toml": "#"}
LIBRARIES = ["--package=walia-core", "--package=walia-bench", "--package=walia-top"]


def check_entries():
    """Fail where a function that Postgres calls does not begin as src/error_context.rs demands."""
    for path in sorted((CHECKOUT / "src").rglob("*.rs")):
        for after in re.split(r"#\[(?:pgrx::)?pg_guard\]", path.read_text())[1:]:
            name = re.search(r"fn (\$?\w+)", after)[1]
            begin = after[after.index("{\n", after.index("fn ")):][:160]
            if not re.search(r"enter!\(\);|// Calls no function of Postgres's\.", begin):
                raise Failure(f"{path.relative_to(CHECKOUT)}: {name} does not begin with enter!()")


def check_unsafe():
    """Fail where the extension's unsafe code is not as CONTRIBUTING.md demands."""
    source = CHECKOUT / "src"
    for path in sorted(source.rglob("*.rs")):
        name, text = path.relative_to(source).as_posix(), path.read_text()
        if re.search(r"\bunsafe\b", text) and re.fullmatch(SAFE, name):
            raise Failure(f"src/{name}: has unsafe code, which is to be elsewhere")
        for block in re.finditer(r"^( *)(?:\S.*)?\bunsafe \{\n((?:\1 .*\n|\n)*)", text, re.MULTILINE):
            if block[2].count("\n") > UNSAFE_LINES:
                line = text.count("\n", 0, block.end(1)) + 1
                raise Failure(f"src/{name}:{line}: a block of unsafe code has more than {UNSAFE_LINES} lines")


def check_comments():
    """Fail where a comment's line is too long. Files of golden bytes do not change."""
    files = subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    for name in files.stdout.split():
        comment = COMMENTS.get(os.path.splitext(name)[1])
        if comment is None or name.startswith("tests/golden/"):
            continue
        for number, line in enumerate((CHECKOUT / name).read_text().splitlines(), 1):
            if len(line) > COMMENT_WIDTH and re.match(rf"\s*(?:{comment})", line):
                raise Failure(f"{name}:{number}: a comment's line has more than {COMMENT_WIDTH} characters")


def main():
    check_entries()
    check_unsafe()
    check_comments()
    layers.main()
    environment.require_tools("cargo", "cc")
    installation = postgres.chosen()
    plain = dict(os.environ)
    doc = ["--no-deps", "--document-private-items"]
    steps = [
        (["cargo", "fmt", "--all", "--check"], plain),
        (["cargo", "clippy", *LIBRARIES, "--all-targets", *DENY], plain),
        postgres.cargo(installation, "clippy", "--all-targets", *DENY),
        (["cargo", "doc", *LIBRARIES, *doc], plain),
        postgres.cargo(installation, "doc", *doc),
    ]
    for command, variables in steps:
        print("\n==>", *command, flush=True)
        # The documentation holds private items, which public ones may name.
        variables = {**variables, "RUSTDOCFLAGS": "-D warnings -A rustdoc::private-intra-doc-links"}
        if subprocess.run(command, cwd=CHECKOUT, env=variables, check=False).returncode != 0:
            raise Failure("see above")


environment.main(main)
