"""Every snippet of docs/CLIENTS.md runs, and prints what the document says below it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from server import Plans

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "CLIENTS.md"
SECTIONS = re.split(r"^## ", DOCUMENT.read_text(), flags=re.MULTILINE)[1:]
# The title, the program and what it prints.
SNIPPETS = [re.fullmatch(r"(.+?)\n.*```python\n(.*?)```\n\n```text\n(.*?)```\s*", section, re.DOTALL).groups() for section in SECTIONS]


def test_no_block_is_overlooked():
    assert DOCUMENT.read_text().count("```") == 4 * len(SNIPPETS) > 0


@pytest.mark.parametrize("title, snippet, printed", SNIPPETS, ids=[snippet[0] for snippet in SNIPPETS])
def test_snippet(title, snippet, printed, tmp_path):
    del title
    with psycopg.connect(autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS item")
    # So few rows would be sorted.
    variables = {**os.environ, "PGOPTIONS": "-c enable_seqscan=off"}
    plans = Plans()
    script = tmp_path / "snippet.py"
    script.write_text(snippet)
    done = subprocess.run([sys.executable, script], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed
    plans.check("item_embedding")
