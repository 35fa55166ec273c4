"""Prompts as files: read, checked against what they declare, pinned by hash, rendered in a sandbox.

A run pins each prompt as `version@sha256` when it begins, and goes on with that text after a restart, even when the
file has changed since: the texts of all versions that were ever deployed are kept in `core.prompt_texts`.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast

import yaml
from jinja2 import StrictUndefined, Template, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import Broken
from core.ids import TenantId
from db.pools import Connection, Database
from db.transactions import tenant_tx

ROOT = Path(__file__).parent
_FILE = re.compile(r"---\n(?P<head>.*?)\n---\n(?P<body>.+)", re.DOTALL)


class PromptInvalid(Broken):
    """A prompt file does not say what it must, or was rendered with other variables than it declares."""


class Head(BaseModel):
    """What stands at the top of a prompt file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: `<agent>/<name>`, the same as the file's place.
    id: str = Field(pattern=r"^[a-z_]+/[a-z_]+$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    #: Who answers for the words.
    owner: str
    #: What a model must be able to do: `route` (choose among closed sets), `generate`, `vision`.
    needs: tuple[Literal["route", "generate", "vision"], ...]
    variables: tuple[str, ...]
    #: The closed schema that the model must answer with.
    output: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """One version of one prompt."""

    head: Head
    sha256: str
    #: The whole file.
    text: str
    template: Template

    @property
    def ref(self) -> str:
        """How state and records name this text: `version@sha256`."""
        return f"{self.head.version}@{self.sha256}"

    def render(self, variables: Mapping[str, object]) -> str:
        """Fill in the variables.

        Raises:
            PromptInvalid: a variable is missing or not declared, or the prompt does what the sandbox forbids.
        """
        if set(variables) != set(self.head.variables):
            raise PromptInvalid(f"{self.head.id} takes {sorted(self.head.variables)}, not {sorted(variables)}")
        try:
            return self.template.render(variables)
        except TemplateError as error:
            raise PromptInvalid(f"{self.head.id} {self.head.version}: {error}") from error


def parse_prompt(text: str, *, prompt_id: str) -> Prompt:
    """Read one prompt file.

    Raises:
        PromptInvalid: the file is malformed, or declares other variables than it uses.
    """
    match = _FILE.fullmatch(text)
    if match is None:
        raise PromptInvalid(f"prompt {prompt_id} does not begin with front matter between two lines of ---")
    try:
        head = Head.model_validate(yaml.safe_load(match["head"]))
        environment = _environment()
        used = meta.find_undeclared_variables(environment.parse(match["body"]))
        template = environment.from_string(match["body"])
    except (yaml.YAMLError, ValidationError, TemplateError) as error:
        raise PromptInvalid(f"prompt {prompt_id}: {error}") from error
    if head.id != prompt_id:
        raise PromptInvalid(f"prompt {prompt_id} calls itself {head.id}")
    if used != set(head.variables):
        raise PromptInvalid(f"prompt {prompt_id} declares {sorted(head.variables)} but uses {sorted(used)}")
    return Prompt(head=head, sha256=hashlib.sha256(text.encode()).hexdigest(), text=text, template=template)


@cache
def prompts() -> Mapping[str, Prompt]:
    """Every prompt of this deployment by its id, read once per process.

    Raises:
        PromptInvalid: a file is malformed; a worker calls this at start-up.
    """
    found: dict[str, Prompt] = {}
    for path in sorted(ROOT.glob("*/*.md")):
        prompt_id = path.relative_to(ROOT).with_suffix("").as_posix()
        found[prompt_id] = parse_prompt(path.read_text(encoding="utf-8"), prompt_id=prompt_id)
    return found


def prompt_refs() -> dict[str, str]:
    """The pins that a run takes with it: prompt id to `version@sha256`."""
    return {prompt_id: prompt.ref for prompt_id, prompt in prompts().items()}


_older: dict[str, Prompt] = {}


async def pinned_prompt(prompt_id: str, ref: str, *, database: Database, tenant_id: TenantId) -> Prompt:
    """The prompt that a run pinned: the file of this deployment, or the kept text of the one it began with.

    Raises:
        PromptInvalid: no text with this hash was ever recorded.
        DatabaseUnavailable: the database did not answer.
    """
    current = prompts().get(prompt_id)
    if current is not None and current.ref == ref:
        return current
    sha256 = ref.partition("@")[2]
    if sha256 not in _older:
        async with tenant_tx(database, tenant_id, commit="prompt_text") as connection:
            _older[sha256] = await _recorded(connection, prompt_id, sha256)
    return _older[sha256]


async def record_prompts(connection: Connection) -> None:
    """Keep the text of every prompt of this deployment. Workers do so when they start, in a `queue_tx`."""
    cursor = connection.cursor()
    await cursor.executemany(
        "INSERT INTO core.prompt_texts (sha256, id, version, text) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
        [(prompt.sha256, prompt.head.id, prompt.head.version, prompt.text) for prompt in prompts().values()],
    )


async def _recorded(connection: Connection, prompt_id: str, sha256: str) -> Prompt:
    cursor = await connection.execute(
        "SELECT text FROM core.prompt_texts WHERE sha256 = %s AND id = %s", (sha256, prompt_id)
    )
    row = await cursor.fetchone()
    if row is None:
        raise PromptInvalid(f"the text of prompt {prompt_id} with sha256 {sha256} was never recorded")
    return parse_prompt(cast("str", row["text"]), prompt_id=prompt_id)


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    # Autoescaping is for HTML; values reach a prompt as JSON, whose filter escapes < > & by itself.
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, keep_trailing_newline=False
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": False}
    return environment
