"""What the tests of the evaluations arrange with: the demo organisation's real articles, and the offline model."""

from collections.abc import Sequence
from dataclasses import asdict

import pytest

from core.ids import TenantId, new_id
from db.pools import Database
from db.provision import create_tenant
from evals.case import Case
from evals.report import Report
from evals.run import run_cases
from memory.articles import Article
from memory.publishing import publish_articles
from models.embedder import local_embedder
from models.offline.chat import OfflineChatModel
from sandbox.demo.content import load_articles, load_profile
from tests.conftest import Stack


@pytest.fixture(scope="package")
async def asha(stack: Stack, database: Database) -> TenantId:
    """A tenant with the articles of the demo organisation."""
    tenant_id = create_tenant(stack.admin_url, slug=new_id("slug").replace("_", "-"), name="Asha")
    articles = [
        Article(
            id=article.id, title=article.title, language=article.language, body=article.body, tags=article.tags,
            questions=article.questions, updated=article.updated,
        )
        for article in load_articles("asha")
    ]  # fmt: skip
    await publish_articles(database, tenant_id, articles, local_embedder())
    return tenant_id


async def run(database: Database, tenant_id: TenantId, cases: Sequence[Case]) -> Report:
    return await run_cases(
        database,
        tenant_id,
        cases,
        chat_model=OfflineChatModel(),
        embedder=local_embedder(),
        profile=asdict(load_profile("asha")),
    )
