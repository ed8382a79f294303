"""What the tests of clients share: rows to search, and the plan of the statement that a client has sent."""

import math
import os
import random
import re

ROWS = 20_000
DIMENSIONS = 16


def vectors():
    """The same rows in each run."""
    numbers = random.Random(1)
    return [[numbers.gauss(0, 1) for _ in range(DIMENSIONS)] for _ in range(ROWS)]


def nearest(rows, query, count):
    """The numbers of the rows nearest by cosine distance, by measuring all of them."""
    def distance(row):
        return 1 - sum(map(float.__mul__, row, query)) / math.hypot(*row) / math.hypot(*query)
    return sorted(range(len(rows)), key=lambda number: distance(rows[number]))[:count]


class Plans:
    """The plans that the server logs from now on."""

    def __init__(self):
        self.log = os.environ["WALIA_SERVER_LOG"]
        self.start = os.path.getsize(self.log)

    def check(self, index):
        """Fail unless a statement since then was answered by this index of walia's."""
        with open(self.log, encoding="utf-8") as log:
            log.seek(self.start)
            logged = log.read()
        assert re.search(rf"Index Scan using \"?{index}\"? on ", logged), logged[-3000:]


def check_method(cursor, index):
    """Fail unless an index is one of walia_hnsw."""
    cursor.execute("SELECT amname FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE relname = %s", [index])
    assert cursor.fetchone()[0] == "walia_hnsw"
