"""Measure walia, and pgvector where the Postgres has it, on real data: `make bench`.

Arguments go to walia-bench. With --figures, walia alone, on the sentence embeddings: `make figures`.
"""

import os
import subprocess
import sys
from pathlib import Path

import environment
import glove
import postgres
from environment import CHECKOUT, Failure


def main():
    environment.require_tools("cargo", "cc")
    home = environment.directory() / "bench"
    installation = postgres.chosen()
    library = postgres.build(installation)
    server = postgres.Server(installation.private_copy(home / "server"), home / "cluster")
    postgres.install(library, server.installation)
    data = Path(os.environ.get("WALIA_DATA") or CHECKOUT.parent / "shared" / "data")
    draws = any(argument.startswith("--figures") for argument in sys.argv)
    datasets = [data / "minilm384"] if draws else \
        [glove.prepare()[0], *sorted({base.parent for base in data.glob("*/base.*")})]
    command = ["cargo", "run", "--release", "--package=walia-bench", "--", *sys.argv[1:]]
    compares = any(argument.startswith("--partitions") for argument in sys.argv)
    if not compares and not draws and Path(server.installation.ask("sharedir"), "extension", "vector.control").exists():
        command.append("--peer=pgvector")
    cache = home / "truth"
    cache.mkdir(exist_ok=True)
    with server.running(postgres.settings_for_measuring()):
        command += [f"--host={server.socket}", f"--cache={cache}", *datasets]
        if subprocess.run(command, cwd=CHECKOUT, check=False).returncode != 0:
            raise Failure("walia-bench failed: see above")


environment.main(main)
