"""Formatting, clippy, documentation, what modules import, and how functions begin that Postgres calls: `make lint`.

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
LIBRARIES = ["--package=walia-core", "--package=walia-bench"]


def check_entries():
    """Fail where a function that Postgres calls does not begin as src/error_context.rs demands."""
    for path in sorted((CHECKOUT / "src").rglob("*.rs")):
        for after in re.split(r"#\[(?:pgrx::)?pg_guard\]", path.read_text())[1:]:
            name = re.search(r"fn (\$?\w+)", after)[1]
            begin = after[after.index("{\n", after.index("fn ")):][:160]
            if not re.search(r"enter!\(\);|// Calls no function of Postgres's\.", begin):
                raise Failure(f"{path.relative_to(CHECKOUT)}: {name} does not begin with enter!()")


def main():
    check_entries()
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
