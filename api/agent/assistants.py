"""Assistants: the graphs that this installation runs. They come with the release, so they are only read."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias, cast

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api.agent.beginning import check_graph
from api.agent.run_request import RequestedContext, WholeNumber
from api.agent.shapes import Assistant, GraphSchemas, assistant_id_of, selected
from api.state import GraphsLoaded
from rest.api_keys import Reader
from rest.json_values import StorableFields
from rest.problems import problem_responses

router = APIRouter(prefix="/assistants", responses=problem_responses(400, 401, 403, 503))

LIMIT_DEFAULT = 10
LIMIT_MAX = 100
EPOCH = datetime.fromtimestamp(0, UTC)

AssistantPath = Annotated[str, Path(min_length=1, max_length=64, description="The graph's name, or its id")]
AssistantField: TypeAlias = Literal[
    "assistant_id", "graph_id", "name", "description", "config", "context", "created_at", "updated_at", "metadata",
    "version",
]  # fmt: skip


class AssistantCount(BaseModel):
    """Which assistants are counted."""

    model_config = ConfigDict(extra="forbid")

    graph_id: str | None = None
    name: str | None = Field(default=None, description="A part of its name")
    metadata: StorableFields | None = None

    def matches(self, assistant: Assistant) -> bool:
        """Whether this one is meant."""
        metadata = assistant.get("metadata", {})
        return (
            self.graph_id in (None, assistant.get("graph_id"))
            and (self.name or "").lower() in assistant.get("name", "")
            and all(name in metadata and metadata[name] == value for name, value in (self.metadata or {}).items())
        )


class AssistantSearch(AssistantCount):
    """Which assistants are listed, and in which order."""

    limit: WholeNumber = Field(default=LIMIT_DEFAULT, ge=1, le=LIMIT_MAX)
    offset: WholeNumber = Field(default=0, ge=0)
    sort_by: Literal["assistant_id", "graph_id", "name", "created_at", "updated_at"] = "name"
    sort_order: Literal["asc", "desc"] = "asc"
    select: list[AssistantField] | None = None


class VersionSearch(BaseModel):
    """Which versions of an assistant are listed; there is one, that of its graph."""

    model_config = ConfigDict(extra="forbid")

    metadata: StorableFields | None = None
    limit: WholeNumber = Field(default=LIMIT_DEFAULT, ge=1, le=LIMIT_MAX)
    offset: WholeNumber = Field(default=0, ge=0)


@router.post("/search", summary="List assistants")
async def search_assistants(
    asked: AssistantSearch, key: Reader, graphs: GraphsLoaded, response: Response
) -> list[Assistant]:
    """Every graph is an assistant."""
    del key, graphs
    found = sorted(
        (one for one in _assistants() if asked.matches(one)),
        key=lambda one: str(one.get(asked.sort_by)),
        reverse=asked.sort_order == "desc",
    )
    page = found[asked.offset : asked.offset + asked.limit]
    if asked.offset + len(page) < len(found) and page:
        response.headers["x-pagination-next"] = str(asked.offset + len(page))
    return selected(page, asked.select)


@router.post("/count", summary="Count assistants")
async def count_assistants(asked: AssistantCount, key: Reader, graphs: GraphsLoaded) -> int:
    """How many assistants a search would find."""
    del key, graphs
    return sum(asked.matches(one) for one in _assistants())


@router.get("/{assistant_id}", summary="One assistant", responses=problem_responses(404))
async def get_assistant(assistant_id: AssistantPath, key: Reader, graphs: GraphsLoaded) -> Assistant:
    """A graph, by its name or its assistant's id."""
    del key, graphs
    return _assistant(check_graph(assistant_id))


@router.post("/{assistant_id}/versions", summary="Its versions", responses=problem_responses(404))
async def list_versions(
    assistant_id: AssistantPath, asked: VersionSearch, key: Reader, graphs: GraphsLoaded
) -> list[Assistant]:
    """The one version that there is."""
    del key, graphs
    found = [_assistant(check_graph(assistant_id))]
    wanted = AssistantCount(metadata=asked.metadata)
    return [one for one in found if wanted.matches(one)][asked.offset :]


@router.get("/{assistant_id}/graph", summary="Its nodes and edges", responses=problem_responses(404))
async def get_graph(
    assistant_id: AssistantPath,
    key: Reader,
    graphs: GraphsLoaded,
    *,
    xray: Annotated[bool | int, Query(description="Graphs hold no graphs here")] = False,
) -> dict[str, list[dict[str, JsonValue]]]:
    """The graph as `langgraph` draws it."""
    del key, graphs
    return _compiled(assistant_id).get_graph(xray=xray).to_json()


@router.get("/{assistant_id}/schemas", summary="What goes in and comes out", responses=problem_responses(404))
async def get_schemas(assistant_id: AssistantPath, key: Reader, graphs: GraphsLoaded) -> GraphSchemas:
    """The shape of the state. Of a new run's context only what a caller may say."""
    del key, graphs
    compiled = _compiled(assistant_id)
    state = compiled.get_output_jsonschema()
    return GraphSchemas(
        graph_id=check_graph(assistant_id),
        input_schema=compiled.get_input_jsonschema(),
        output_schema=state,
        state_schema=state,
        config_schema={},
        context_schema=RequestedContext.model_json_schema(),
    )


@router.get("/{assistant_id}/subgraphs", summary="The graphs that it holds", responses=problem_responses(404))
async def list_subgraphs(assistant_id: AssistantPath, key: Reader, graphs: GraphsLoaded) -> dict[str, GraphSchemas]:
    """None: what a node does inside an agent is told by the steps of a run."""
    del key, graphs
    check_graph(assistant_id)
    return {}


@router.get(
    "/{assistant_id}/subgraphs/{namespace}", summary="The graphs that it holds", responses=problem_responses(404)
)
async def list_subgraphs_of(
    assistant_id: AssistantPath,
    namespace: Annotated[str, Path(min_length=1, max_length=200)],
    key: Reader,
    graphs: GraphsLoaded,
) -> dict[str, GraphSchemas]:
    """None, wherever they are looked for."""
    del key, graphs, namespace
    check_graph(assistant_id)
    return {}


def _assistants() -> list[Assistant]:
    from graphs.registry import GRAPHS

    return [_assistant(name) for name in GRAPHS]


def _assistant(graph: str) -> Assistant:
    from graphs.registry import graph_named

    return Assistant(
        assistant_id=assistant_id_of(graph),
        graph_id=graph,
        name=graph,
        description=None,
        config={},
        context={},
        metadata={"created_by": "system"},
        version=int(graph_named(graph).version),
        created_at=EPOCH,
        updated_at=EPOCH,
    )


def _compiled(assistant_id: str) -> Any:  # Any: LangGraph's, which is imported late
    from graphs.registry import graph_named

    return cast("Any", graph_named(check_graph(assistant_id)).build(None))
