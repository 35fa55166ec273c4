import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ids import TenantId
from db.pools import Database
from db.transactions import queue_tx, tenant_tx
from prompts.loader import Prompt, PromptInvalid, parse_prompt, pinned_prompt, prompt_refs, prompts, record_prompts

HEAD = "id: reply/answer\nversion: 1.2.0\nowner: team\nneeds: [route]\noutput: ReplyDecision\n"


def a_prompt(body: str, *, variables: str = "[name]", version: str = "1.2.0") -> Prompt:
    head = HEAD.replace("1.2.0", version)
    return parse_prompt(f"---\n{head}variables: {variables}\n---\n{body}", prompt_id="reply/answer")


def test_a_prompt_says_its_version_and_hash() -> None:
    prompt = a_prompt("Hello {{ name }}")
    assert prompt.ref == f"1.2.0@{prompt.sha256}"
    assert prompt.render({"name": "Asha"}) == "Hello Asha"


def test_a_variable_that_is_missing_is_an_error() -> None:
    with pytest.raises(PromptInvalid, match="takes"):
        a_prompt("Hello {{ name }}").render({})


def test_a_variable_that_is_not_declared_is_an_error() -> None:
    with pytest.raises(PromptInvalid, match="takes"):
        a_prompt("Hello {{ name }}").render({"name": "Asha", "more": 1})
    with pytest.raises(PromptInvalid, match="declares"):
        a_prompt("Hello {{ name }} {{ other }}")
    with pytest.raises(PromptInvalid, match="declares"):
        a_prompt("Hello")


def test_a_prompt_in_the_wrong_place_is_an_error() -> None:
    with pytest.raises(PromptInvalid, match="calls itself"):
        parse_prompt(a_prompt("Hello {{ name }}").text, prompt_id="triage/classify")


@pytest.mark.parametrize("text", ["Hello", "---\nid: [\n---\nHello", f"---\n{HEAD}variables: [name]\n---\n{{{{ name"])
def test_a_malformed_file_is_an_error(text: str) -> None:
    with pytest.raises(PromptInvalid):
        parse_prompt(text, prompt_id="reply/answer")


def test_a_prompt_cannot_reach_into_python() -> None:
    prompt = a_prompt("{{ name.__class__.__mro__ }}")
    with pytest.raises(PromptInvalid, match="unsafe"):
        prompt.render({"name": "Asha"})


@given(st.text())
def test_no_value_can_close_the_tag_that_it_stands_in(text: str) -> None:
    rendered = a_prompt("<data>{{ name | tojson }}</data>").render({"name": text})
    inner = rendered.removeprefix("<data>").removesuffix("</data>")
    assert "<" not in inner
    assert json.loads(inner) == text


def test_every_prompt_of_ours_is_valid_and_pinned() -> None:
    assert set(prompt_refs()) == {"triage/classify", "reply/answer"}
    assert all(prompt.ref == prompt_refs()[prompt_id] for prompt_id, prompt in prompts().items())


async def test_a_run_keeps_the_words_it_began_with(database: Database, tenant: TenantId) -> None:
    older = a_prompt("Older words for {{ name }}", version="0.9.0")
    async with queue_tx(database, commit="test") as connection:
        await connection.execute(
            "INSERT INTO core.prompt_texts (sha256, id, version, text) VALUES (%s, %s, %s, %s)",
            (older.sha256, older.head.id, older.head.version, older.text),
        )
    found = await pinned_prompt("reply/answer", older.ref, database=database, tenant_id=tenant)
    assert found.render({"name": "Asha"}) == "Older words for Asha"


async def test_prompts_are_recorded_once_and_found_by_any_tenant(database: Database, tenant: TenantId) -> None:
    for _ in range(2):
        async with queue_tx(database, commit="test") as connection:
            await record_prompts(connection)
    for prompt_id, ref in prompt_refs().items():
        async with tenant_tx(database, tenant, commit="test") as connection:
            cursor = await connection.execute(
                "SELECT text FROM core.prompt_texts WHERE sha256 = %s", (ref.partition("@")[2],)
            )
            row = await cursor.fetchone()
        assert row == {"text": prompts()[prompt_id].text}


async def test_a_text_that_was_never_recorded_is_an_error(database: Database, tenant: TenantId) -> None:
    with pytest.raises(PromptInvalid, match="never recorded"):
        await pinned_prompt("reply/answer", f"9.9.9@{'0' * 64}", database=database, tenant_id=tenant)
