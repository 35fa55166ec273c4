"""What tools ask first: whether a server of the protocol is here, and what it can do."""

from importlib.metadata import version

from fastapi import APIRouter
from pydantic import BaseModel, Field

router = APIRouter()


class Here(BaseModel):
    """The server answers."""

    ok: bool = True


class Flags(BaseModel):
    """Which parts of the protocol are served."""

    assistants: bool = True
    crons: bool = False
    langsmith: bool = False


class ServerInfo(BaseModel):
    """Which server this is."""

    version: str = Field(description="Of Chowk")
    langgraph_py_version: str
    flags: Flags = Flags()
    strict_resume: bool = Field(default=True, description="An answer to what is not asked is refused")


@router.get("/ok", summary="Whether it answers")
async def get_ok() -> Here:
    """Needs no key and looks at nothing."""
    return Here()


@router.get("/info", summary="What it can do")
async def get_info() -> ServerInfo:
    """Needs no key."""
    return ServerInfo(version=version("chowk"), langgraph_py_version=version("langgraph"))
