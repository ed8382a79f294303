"""Django with pgvector-python's field; the index takes walia's method from one line."""

import os

import django
from django.conf import settings
from django.db import connection, models

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"]}},
    INSTALLED_APPS=["django.contrib.postgres"],
)
django.setup()

from pgvector.django import CosineDistance, HnswIndex, VectorField

from server import DIMENSIONS, Plans, check_method, nearest, vectors


class WaliaIndex(HnswIndex):
    suffix = "walia_hnsw"


class Article(models.Model):
    body = VectorField(dimensions=DIMENSIONS)
    topic = models.IntegerField()

    class Meta:
        app_label = "clients"


INDEX = WaliaIndex(name="article_body", fields=["body"], opclasses=["vector_cosine_ops"], m=16, ef_construction=64)


def test_search_by_the_index():
    rows = vectors()
    with connection.schema_editor() as editor:
        editor.create_model(Article)
    Article.objects.bulk_create([Article(id=i, body=row, topic=i % 10) for i, row in enumerate(rows)], batch_size=5000)
    # As a migration's AddIndex does.
    with connection.schema_editor() as editor:
        editor.add_index(Article, INDEX)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE clients_article")
        check_method(cursor, "article_body")
    plans = Plans()
    found = [article.id for article in Article.objects.order_by(CosineDistance("body", rows[7]))[:10]]
    plans.check("article_body")
    assert found[0] == 7 and len(set(found) & set(nearest(rows, rows[7], 10))) >= 9
    plans = Plans()
    found = [article.id for article in Article.objects.exclude(topic=3).order_by(CosineDistance("body", rows[7]))[:10]]
    plans.check("article_body")
    assert len(found) == 10 and all(number % 10 != 3 for number in found)
