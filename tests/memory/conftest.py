"""What the tests of the knowledge memory arrange with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from core.ids import TenantId, new_id
from db.pools import Database
from db.provision import create_tenant
from memory.articles import Article
from memory.publishing import publish_articles
from models.embedder import Vectors, local_embedder
from sandbox.demo.content import load_articles
from tests.conftest import Stack


@dataclass
class WordlessEmbedder:
    """An embedder that reads no script at all, so that only words are searched; remembers what it was given."""

    name: str = "wordless"
    dimensions: int = 384
    readable: bool = False
    given: list[str] = field(default_factory=list)

    def reads(self, text: str) -> bool:
        del text
        return self.readable

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.given += texts
        return np.empty((0, self.dimensions), np.float32)


@dataclass
class ReadingEmbedder(WordlessEmbedder):
    """An embedder that reads everything and puts every text at the same place; remembers what it was given."""

    name: str = "reading"
    readable: bool = True

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.given += texts
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        vectors[:, 0] = 1
        return vectors


def an_article(name: str = "receipts", **fields: Any) -> Article:
    given = {"title": "Receipts for donations", "language": "en", "body": "You get a receipt in two days."} | fields
    return Article(id=name, **given)


def demo_articles(slug: str) -> list[Article]:
    return [
        Article(
            id=article.id, title=article.title, language=article.language, body=article.body,
            tags=article.tags, questions=article.questions, updated=article.updated,
        )
        for article in load_articles(slug)
    ]  # fmt: skip


@pytest.fixture(scope="session")
async def asha(stack: Stack, database: Database) -> TenantId:
    """A tenant with all the articles of the demo organisation `asha`."""
    tenant_id = create_tenant(stack.admin_url, slug=new_id("slug").replace("_", "-"), name="Asha")
    await publish_articles(database, tenant_id, demo_articles("asha"), local_embedder())
    return tenant_id
