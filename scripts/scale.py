"""Build and search made sets of up to ten million rows, as many as there is room for: `make scale`.

For every set the numbers of docs/BENCHMARKS.md are printed, with a tenth and a hundredth of its rows beside,
and plots are drawn into docs/. Memory is what the kernel counts as private to the server's processes (RssAnon
of /proc, looked at every 50 ms), which leaves out shared buffers and the page cache. Cold searches are those
after a restart, when the server's files were taken from the page cache (posix_fadvise): that needs no
privilege, and other programs keep what they have there. Other arguments than the options go to walia-bench;
the disk that is told to be needed is that of an index with m 16.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import environment
import postgres
from environment import CHECKOUT, Failure

SETS = ["1000000x1536", "10000000x128", "10000000x384"]
PARTS = (100, 10, 1)
# Fewer are not worth a walk.
LEAST_ROWS = 2000
# From twice the LIMIT on: at lower ones walia looks further than they say, and finds more.
SETTINGS = "20,25,30,40,60,80,100,150,250,400,700,1000"
# Wide vectors are kept in 16 bits, as one would keep them.
WIDE = 1024
# What max_wal_size keeps, a half more, and what a server has without a table.
OTHER_BYTES = 7 << 30


class Set:
    """Rows and dimensions, and what a build of them may use."""

    def __init__(self, name, arguments):
        found = re.fullmatch(r"(\d+)x(\d+)", name)
        if found is None:
            raise Failure(f"a set is written as ROWSxDIMENSIONS, such as {SETS[0]}: {name}")
        self.name, self.rows, self.dimensions = name, int(found[1]), int(found[2])
        self.storage = arguments.storage or ("vecf16" if self.dimensions > WIDE else "vecf32")
        self.settings = arguments.ef
        self.memory = arguments.maintenance_work_mem or (1024 if self.dimensions <= 128 else 4096)

    def bytes_needed(self):
        """Disk for table, index (of m 16), temporary file and WAL: what was measured and a tenth more."""
        vector = self.dimensions * (2 if self.storage == "vecf16" else 4)
        table, index = 60 + vector * 11 // 10, 1300 + 5 * self.dimensions
        return self.rows * (table + index + vector) + OTHER_BYTES

    def lacks(self, free):
        """What to say where there is no room, or None."""
        if self.bytes_needed() <= free:
            return None
        return f"{self.name} is skipped: it needs {gib(self.bytes_needed())} of disk, and {gib(free)} are free"

    def options(self):
        """The options of walia-bench."""
        sizes = [self.rows // part for part in PARTS if part == 1 or self.rows // part >= LEAST_ROWS]
        return [f"--sizes={','.join(map(str, sizes))}", f"--dimensions={self.dimensions}", f"--storage={self.storage}",
                f"--maintenance-work-mem={self.memory}", f"--ef={self.settings}"]


def gib(size):
    return f"{size / (1 << 30):.1f} GiB"


def forget_files(directory):
    """Take the files below a directory out of the page cache."""
    for path in filter(Path.is_file, directory.rglob("*")):
        # The server may remove one meanwhile.
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            # Pages that are not yet written would stay.
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(server, profile, options):
    """Run walia-bench on a running server and restart that when it asks; give all else that it prints."""
    command = ["cargo", "run", f"--profile={profile}", "--package=walia-bench", "--", f"--host={server.socket}", "--cold", *options]
    lines = []
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as bench:
        try:
            for line in bench.stdout:
                if line != "restart\n":
                    lines.append(line)
                    continue
                server.restart()
                forget_files(server.data)
                bench.stdin.write("\n")
                bench.stdin.flush()
        except BaseException:
            bench.kill()
            raise
    if bench.returncode != 0:
        raise Failure(f"walia-bench failed, see above; the server's log ends:\n{server.log.read_text()[-2000:]}")
    return "".join(lines)


def logged(log, statement):
    """Milliseconds and the first parameter, if any, of the executions of a statement, in their order."""
    found = re.findall(rf"duration: ([\d.]+) ms  (?:statement|execute \w+): {statement}.*\n(?:.*DETAIL:.* \$1 = '(.*)'\n)?", log)
    return [(float(duration), parameter) for duration, parameter in found]


def search_again(server, vectors, ef_search):
    """Pages a query and recall of searches, by the server's counters of the table and by sorts of it."""
    pages = "SELECT sum(heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read) FROM pg_statio_user_tables;\n"
    flush = "SELECT pg_stat_force_next_flush();\n"
    searches = "".join(f"SELECT id FROM walia_bench.walia ORDER BY vec <~> '{vector}' LIMIT 10;\n" for vector in vectors)
    settings = f"SET enable_seqscan = off; SET enable_sort = off; SET walia.ef_search = {ef_search};\n"
    lines = server.psql(f"{settings}{searches}{flush}{pages}{searches}{flush}{pages}").split()
    before, *found, after = lines[len(vectors) * 10:]
    exact = server.psql(f"SET enable_indexscan = off;\n{searches}").split()
    right = sum(len({*found[start:start + 10]} & {*exact[start:start + 10]}) for start in range(0, len(exact), 10))
    return (int(after) - int(before)) / len(vectors), right / len(exact)


def check(installation):
    """Measure 20,000 rows, and compare the numbers with what the server says of itself."""
    queries = 20
    # A poor graph needs some ef_search.
    options = [f"--queries={queries}", "--rounds=1", "--m=8", "--ef-construction=16", "--keep"]
    arguments = argparse.Namespace(storage=None, maintenance_work_mem=256, ef=SETTINGS)
    small = Set("20000x128", arguments)
    server = postgres.Server(installation, environment.directory() / "test" / "scale")
    settings = {"autovacuum": "off", "jit": "off", "log_min_duration_statement": 0}
    with tempfile.TemporaryDirectory() as plots, server.running(settings):
        text = measure(server, postgres.PROFILE, [f"--scale={plots}", f"--json={plots}/json", *small.options(), *options])
        sizes = json.loads(Path(plots, "json").read_text())["sizes"]
        last, log = sizes[-1], server.log.read_text()
        rows, index_bytes, memory, all_ms = server.psql(
            "SELECT (SELECT count(*) FROM walia_bench.walia), pg_relation_size('walia_bench.walia_index'),"
            " (SELECT maintenance_work_mem FROM walia_build_estimate('walia_bench.walia_index') WHERE chosen),"
            " (SELECT total_ms FROM walia_stat_indexes)").split()
        explained = logged(log, "EXPLAIN")[-queries:]
        point, cold = last["warm"][-1], last["cold"][-1]
        pages, recall = search_again(server, [vector for _, vector in explained], point["ef_search"])
        builds = [duration / 1000 for duration, _ in logged(log, "CREATE INDEX")]
        # Each is true of what was measured, with what the server says.
        facts = {
            "sizes": [size["rows"] for size in sizes] == [2000, 20000] == [2000, int(rows)],
            "more than one ef_search": len(last["warm"]) > 1 and len(last["cold"]) == len(last["warm"]),
            f"index of {index_bytes} bytes": last["index_bytes"] == int(index_bytes),
            f"builds of {builds} s": len(builds) == 2 and abs(last["build_seconds"] - builds[1]) < 0.1 + builds[1] / 20,
            f"memory of {memory} bytes and some for every process": 1 < last["build_private_bytes"] / int(memory) < 1.25 + (64 << 20) / int(memory),
            f"recall of {recall}": abs(point["recall"] - recall) < 0.003,
            f"{pages} pages": abs(point["buffers"] / pages - 1) < 0.05,
            f"{all_ms} ms of {queries} cold searches": float(all_ms) <= cold["mean_ms"] * queries <= sum(ms for ms, _ in explained),
            "cold pages": point["buffers_read"] == 0 < cold["buffers_read"],
            "rows of the table": all(f"\n| {size['rows']} | {size['build_seconds']:.1f} |" in text for size in sizes),
            "plots": {path.name for path in Path(plots).glob("*.svg")} == {"scale-128-growth.svg", "scale-128-searches.svg"},
            "room": Set("10000000x384", arguments).lacks(10 << 30) is not None and small.lacks(10 << 30) is None,
        }
    wrong = [fact for fact, holds in facts.items() if not holds]
    if wrong or server.home.exists():
        raise Failure(f"not so: {', '.join(wrong) or 'nothing is left behind'}\n{text}\n{sizes}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--sets", nargs="+", default=SETS, metavar="ROWSxDIMENSIONS", help=f"default: {' '.join(SETS)}")
    parser.add_argument("--storage", choices=["vecf32", "vecf16"], help=f"default: vecf16 above {WIDE} dimensions")
    parser.add_argument("--maintenance-work-mem", type=int, metavar="MIB", help="default: 1024 up to 128 dimensions, else 4096")
    parser.add_argument("--ef", default=SETTINGS, metavar="LIST", help=f"settings of ef_search; default: {SETTINGS}")
    parser.add_argument("--plots", default=CHECKOUT / "docs", type=Path, metavar="DIRECTORY", help="default: docs")
    arguments, rest = parser.parse_known_args()
    sets = [Set(name, arguments) for name in arguments.sets]
    environment.require_tools("cargo", "cc")
    home = environment.directory() / "scale"
    free = shutil.disk_usage(environment.directory()).free
    for each in sets:
        print(each.lacks(free) or f"{each.name} needs {gib(each.bytes_needed())} of disk; {gib(free)} are free", flush=True)
    if all(each.lacks(free) for each in sets):
        raise Failure("there is room for none of the sets; choose smaller ones with --sets")
    try:
        installation = postgres.chosen()
        library = postgres.build(installation)
        server = postgres.Server(installation.private_copy(home / "server"), home / "cluster")
        postgres.install(library, server.installation)
        for each in sets:
            # Others may have taken some meanwhile.
            if said := each.lacks(shutil.disk_usage(home).free):
                print(said, flush=True)
                continue
            with server.running(postgres.settings_for_measuring()):
                load = os.getloadavg()[0]
                print(measure(server, "release", [f"--scale={arguments.plots.resolve()}", *each.options(), *rest]))
                print(f"load average at the start {load:.1f}, at the end {os.getloadavg()[0]:.1f}, of {os.cpu_count()} cores\n", flush=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    environment.main(main)
