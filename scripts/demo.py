"""Show walia on real data: `make demo`. With the argument `clean`, remove all of it: `make clean-demo`."""

import shutil
import subprocess
import sys
import time

import environment
import glove
import postgres
from environment import Failure

INDEX_OPTIONS = "m = 16, ef_construction = 128"
EF_SEARCH = (64, 128, 250)
LOOKED_UP = sorted(glove.KEPT)
# The exact answers take a sequential scan each: they are asked for in so many portions, to show how far it
# is.
PORTIONS = 20

FUNCTIONS = """
CREATE TABLE answers (method text, query text, nearest text[], milliseconds float8);

-- Asks for the ten nearest words of a portion of the queries and times each on the server.
CREATE FUNCTION ask(how text, portion int, portions int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    asked queries;
    began timestamptz;
    ten text[];
BEGIN
    FOR asked IN SELECT * FROM queries WHERE abs(hashtext(word)) % portions = portion LOOP
        began := clock_timestamp();
        ten := ARRAY(SELECT word FROM words ORDER BY vec <~> asked.vec LIMIT 10);
        INSERT INTO answers VALUES (how, asked.word, ten, 1000 * extract(epoch FROM clock_timestamp() - began));
    END LOOP;
END $$;
"""

# A row a method: its name, the share of the ten nearest words that it finds, the mean time.
COMPARISON = """
SELECT method, sum(found)::float8 / sum(cardinality(exact)), avg(milliseconds)
FROM (SELECT a.method, a.milliseconds, e.nearest AS exact,
             (SELECT count(*) FROM unnest(a.nearest) word WHERE word = ANY (e.nearest)) AS found
      FROM answers a JOIN answers e ON e.query = a.query AND e.method = 'exact') compared
GROUP BY method ORDER BY max(milliseconds) FILTER (WHERE method = 'exact'), min(method::int) FILTER (WHERE method <> 'exact')
"""


def step(text):
    print(f"\n==> {text}", flush=True)


class Status:
    """One line that is written over on a terminal; elsewhere a line every ten seconds."""

    def __init__(self):
        self.terminal = sys.stdout.isatty()
        self.shown = 0.0

    def show(self, text, last=False):
        now = time.monotonic()
        if self.terminal:
            print(f"\r    {text:<100}", end="\n" if last else "", flush=True)
        elif last or now - self.shown >= 10:
            print(f"    {text}", flush=True)
            self.shown = now


def load(server, directory, about):
    step(f"Loading {about['words']:,} words")
    print(f"    {about['source']}")
    server.psql("CREATE DATABASE demo")
    vector = f"vecf32({about['dimensions']})"
    server.psql(f"CREATE EXTENSION walia; CREATE TABLE words (word text, vec {vector}); CREATE TABLE queries (LIKE words);", "demo")
    began = time.monotonic()
    server.psql(f"\\copy words from '{directory}/base.copy'\n\\copy queries from '{directory}/query.copy'\n", "demo")
    # A word is looked up before its neighbours are: by hand, that should not take longer than they do.
    server.psql(FUNCTIONS + "CREATE INDEX words_word ON words (word); VACUUM ANALYZE words;", "demo")
    size = server.psql("SELECT pg_size_pretty(pg_table_size('words'))", "demo").strip()
    print(f"    {size} in {time.monotonic() - began:.0f} s; the {about['queries']:,} query words are not among them")


def create_index(server):
    statement = f"CREATE INDEX words_vec ON words USING walia_hnsw (vec) WITH ({INDEX_OPTIONS})"
    step(statement)
    status = Status()
    began = time.monotonic()
    build = subprocess.Popen(
        [*server.psql_command("demo"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement],
        stderr=subprocess.PIPE, text=True,
    )
    while build.poll() is None:
        progress = server.psql(
            "SELECT phase, tuples_done, tuples_total, blocks_done, blocks_total FROM pg_stat_progress_create_index"
        ).split("\t")
        if len(progress) == 5:
            phase, *counts = progress
            tuples, tuples_total, blocks, blocks_total = map(int, counts)
            done = f"{tuples:,} of {tuples_total:,} tuples" if tuples_total else f"{tuples:,} tuples"
            table = f", {blocks:,} of {blocks_total:,} blocks of the table" if blocks < blocks_total else ""
            status.show(f"{time.monotonic() - began:4.0f} s  {phase}: {done}{table}")
        time.sleep(0.5)
    said = build.stderr.read().strip()
    if build.returncode != 0:
        raise Failure(said)
    size = server.psql("SELECT pg_size_pretty(pg_relation_size('words_vec'))", "demo").strip()
    status.show(f"done in {time.monotonic() - began:.1f} s; the index has {size}", last=True)
    if said:
        print(said)


def look_up(server):
    step("The nearest words")
    print("    SELECT word FROM words ORDER BY vec <~> '[…]' LIMIT 6")
    for word in LOOKED_UP:
        asked = f"(SELECT vec FROM words WHERE word = '{word}')"
        nearest = server.psql(f"SELECT word FROM words ORDER BY vec <~> {asked} LIMIT 6", "demo").splitlines()
        print(f"    {word:<10} {', '.join(other for other in nearest if other != word)}")


def compare(server, about):
    step(f"Recall and time of {about['queries']:,} queries for the ten nearest")
    status = Status()
    alone = "SET max_parallel_workers_per_gather = 0;"
    sequential = f"{alone} SET enable_indexscan = off; SET enable_bitmapscan = off;"
    for portion in range(PORTIONS):
        server.psql(f"{sequential} SELECT ask('exact', {portion}, {PORTIONS})", "demo")
        status.show(f"exact answers by sequential scans: {100 * (portion + 1) // PORTIONS}%", portion == PORTIONS - 1)
    plan = server.psql("EXPLAIN SELECT word FROM words ORDER BY vec <~> (SELECT vec FROM queries LIMIT 1) LIMIT 10", "demo")
    if "Index Scan using words_vec" not in plan:
        raise Failure(f"the planner does not use the index:\n{plan}")
    # The first round only brings the index into memory.
    server.psql(f"{alone} SELECT ask('0', 0, 1); DELETE FROM answers WHERE method = '0'", "demo")
    for ef_search in EF_SEARCH:
        server.psql(f"{alone} SET walia.ef_search = {ef_search}; SELECT ask('{ef_search}', 0, 1)", "demo")
    rows = [line.split("\t") for line in server.psql(COMPARISON, "demo").splitlines()]
    exact = next(float(milliseconds) for method, _, milliseconds in rows if method == "exact")
    print(f"\n    {'':<26}{'recall@10':>10}{'ms a query':>12}{'speed-up':>10}")
    for method, recall, milliseconds in rows:
        name = "sequential scan, one core" if method == "exact" else f"walia.ef_search = {method}"
        milliseconds = float(milliseconds)
        print(f"    {name:<26}{float(recall):>10.4f}{milliseconds:>12.2f}{exact / milliseconds:>9.0f}x")
    print("    (means on the server, everything in memory)")


def demo():
    environment.require_tools("cargo", "cc")
    home = environment.directory() / "demo"
    step("Building walia")
    installation = postgres.chosen()
    library = postgres.build(installation)
    directory, about = glove.prepare()
    server = postgres.Server(installation.private_copy(home / "server"), home / "cluster")
    server.stop()
    shutil.rmtree(server.home, ignore_errors=True)
    postgres.install(library, server.installation)
    step(f"Starting a private Postgres: {server.installation.ask('version')}")
    server.create(postgres.settings_for_measuring())
    server.start()
    load(server, directory, about)
    create_index(server)
    look_up(server)
    compare(server, about)
    step("The server keeps running. To go on by hand:")
    print(f"    {' '.join(server.psql_command('demo'))}")
    print("    SELECT word FROM words ORDER BY vec <~> (SELECT vec FROM words WHERE word = 'walrus') LIMIT 10;")
    print("    To see its pages and its pulse:")
    print(f"    cargo run --release --package=walia-top -- 'host={server.socket} user=postgres dbname=demo'")
    print("    make clean-demo stops it and removes everything.")


def clean():
    home = environment.directory()
    postgres.stop_server(home / "demo" / "cluster" / "data")
    environment.remove()
    print(f"removed what was made in {home}; what cargo compiled stays in {postgres.CARGO_TARGET}")


environment.main(clean if sys.argv[1:] == ["clean"] else demo)
