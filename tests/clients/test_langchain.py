"""LangChain's PGVectorStore: its index class is told walia's method by name."""

import os

from langchain_core.embeddings import Embeddings
from langchain_postgres import PGEngine, PGVectorStore
from langchain_postgres.v2.indexes import DistanceStrategy, HNSWIndex, HNSWQueryOptions
import psycopg

from server import DIMENSIONS, Plans, check_method, nearest, vectors

ROWS = vectors()


class Known(Embeddings):
    """Stands for a model: the text is a row's number."""

    def embed_documents(self, texts):
        return [ROWS[int(text)] for text in texts]

    def embed_query(self, text):
        return ROWS[int(text)]


def test_search_by_the_index():
    engine = PGEngine.from_connection_string(
        f"postgresql+psycopg://{os.environ['PGUSER']}@127.0.0.1:{os.environ['PGPORT']}/{os.environ['PGDATABASE']}")
    engine.init_vectorstore_table("langchain", vector_size=DIMENSIONS)
    store = PGVectorStore.create_sync(engine, Known(), "langchain", index_query_options=HNSWQueryOptions(ef_search=100))
    for start in range(0, len(ROWS), 5000):
        store.add_texts([str(number) for number in range(start, start + 5000)])
    store.apply_vector_index(HNSWIndex(name="langchain_walia", index_type="walia_hnsw", distance_strategy=DistanceStrategy.COSINE_DISTANCE))
    with psycopg.connect(autocommit=True) as connection:
        connection.execute("ANALYZE langchain")
        check_method(connection.cursor(), "langchain_walia")
    plans = Plans()
    found = [int(document.page_content) for document in store.similarity_search("7", k=10)]
    plans.check("langchain_walia")
    assert found[0] == 7 and len(set(found) & set(nearest(ROWS, ROWS[7], 10))) >= 9
