"""What routes take from the application that serves them."""

from typing import Annotated

from fastapi import Depends, Path, Request

from db.pools import Database


def _database(request: Request) -> Database:
    database = request.app.state.database
    assert isinstance(database, Database)
    return database


#: The pools of this process.
ProcessDatabase = Annotated[Database, Depends(_database)]

#: An id of ours in a path. One of another tenant is as unknown as one that never was.
PathId = Annotated[str, Path(pattern=r"^[a-z0-9_]{1,64}$", description="An id such as `conv_01jd3m…`")]
