"""A large import and searches, with walia-top beside: `make watch`. It ends with walia-top."""

import random
import shutil
import subprocess
import sys
import threading
import time

import environment
import postgres
from environment import CHECKOUT, Failure

DIMENSIONS = 128
# Rows that are there when it begins, and of one statement of the import.
FIRST_ROWS = 20_000
ROWS = 200
SETUP = f"""
CREATE EXTENSION walia;
CREATE TABLE item (id bigserial PRIMARY KEY, embedding vecf32({DIMENSIONS}));
-- Vectors in clusters, as those of a model are.
CREATE FUNCTION made(seed bigint) RETURNS real[] LANGUAGE sql AS
    $$ SELECT array_agg(sin(seed % 1000 * dimension) + random() / 2)::real[] FROM generate_series(1, {DIMENSIONS}) AS dimension $$;
INSERT INTO item (embedding) SELECT made(seed) FROM generate_series(1, {FIRST_ROWS}) AS seed;
CREATE INDEX item_embedding ON item USING walia_hnsw (embedding);
ANALYZE item;
"""


def session(server, statement, pause, done):
    """Run a statement again and again, with other numbers and a pause each time, until that is done."""
    command = [*server.psql_command("postgres"), "-X", "-q", "-o", "/dev/null"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as psql:
        while not done.is_set() and psql.poll() is None:
            psql.stdin.write(statement.format(seed=random.randrange(1_000_000)))
            psql.stdin.flush()
            # Without a pause, statements would wait in the pipe after the end.
            time.sleep(pause)
        psql.terminate()


def watch():
    environment.require_tools("cargo", "cc")
    installation = postgres.chosen()
    library = postgres.build(installation)
    build = ["cargo", "build", "--release", "--package=walia-top"]
    if subprocess.run(build, cwd=CHECKOUT, check=False).returncode != 0:
        raise Failure("walia-top did not compile: see above")
    home = environment.directory() / "watch"
    server = postgres.Server(installation.private_copy(home / "server"), home / "cluster")
    server.stop()
    shutil.rmtree(server.home, ignore_errors=True)
    postgres.install(library, server.installation)
    server.create(postgres.settings_for_measuring())
    server.start()
    done = threading.Event()
    imports = f"INSERT INTO item (embedding) SELECT made(seed) FROM generate_series({{seed}}, {{seed}} + {ROWS - 1}) AS seed;\n"
    searches = "SELECT id FROM item ORDER BY embedding <~> (SELECT made({seed})::vecf32) LIMIT 10;\n"
    work = [threading.Thread(target=session, args=(server, *what, done)) for what in ((imports, 0.2), (searches, 0.05))]
    try:
        print(f"making {FIRST_ROWS:,} rows and an index", flush=True)
        server.psql(SETUP)
        for thread in work:
            thread.start()
        if not sys.stdout.isatty():
            # What is printed once is to show some of the work.
            time.sleep(10)
        top = postgres.CARGO_TARGET / "release" / "walia-top"
        shown = subprocess.run([top, f"host={server.socket} user=postgres dbname=postgres"], check=False)
    finally:
        done.set()
        for thread in work:
            if thread.ident is not None:
                thread.join()
        server.stop()
        shutil.rmtree(server.home)
    return shown.returncode


environment.main(watch)
