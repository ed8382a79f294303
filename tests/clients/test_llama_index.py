"""LlamaIndex's PGVectorStore names hnsw in its code: its index is moved by walia's own statements."""

import os

from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import VectorStoreQuery
from llama_index.vector_stores.postgres import PGVectorStore
import psycopg

from server import DIMENSIONS, Plans, check_method, nearest, vectors


def test_search_by_the_index_that_was_moved():
    rows = vectors()
    store = PGVectorStore.from_params(
        host="127.0.0.1", port=os.environ["PGPORT"], user=os.environ["PGUSER"], password="", database=os.environ["PGDATABASE"],
        table_name="llama", embed_dim=DIMENSIONS, hnsw_kwargs={"hnsw_m": 16, "hnsw_ef_construction": 64, "hnsw_ef_search": 100},
    )
    for start in range(0, len(rows), 5000):
        store.add([TextNode(id_=str(i), text=str(i), embedding=rows[i]) for i in range(start, start + 5000)])
    with psycopg.connect(autocommit=True) as connection:
        for (statement,) in connection.execute("SELECT * FROM walia_migration_statements('data_llama')").fetchall():
            connection.execute(statement)
        connection.execute("ANALYZE data_llama")
        (index,) = connection.execute(
            "SELECT relname FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE amname = 'walia_hnsw' AND relname LIKE '%llama%'").fetchone()
        check_method(connection.cursor(), index)
    plans = Plans()
    result = store.query(VectorStoreQuery(query_embedding=rows[7], similarity_top_k=10))
    plans.check(index)
    found = [int(number) for number in result.ids]
    assert found[0] == 7 and len(set(found) & set(nearest(rows, rows[7], 10))) >= 9
