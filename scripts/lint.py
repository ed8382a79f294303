"""Formatting, clippy and documentation, every warning an error: `make lint`."""

import os
import subprocess

import environment
import postgres
from environment import CHECKOUT, Failure

DENY = ["--", "-D", "warnings"]
LIBRARIES = ["--package=walia-core", "--package=walia-bench"]


def main():
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
