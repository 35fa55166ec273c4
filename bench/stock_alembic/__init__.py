"""The peer of `chowk migrate`: a plain loop that has Alembic upgrade one schema after the other."""

from collections.abc import Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, make_url, text

from db.versions import MIGRATIONS


def upgrade_schemas(admin_url: str, schemas: Sequence[str], *, migrations: Path = MIGRATIONS) -> None:
    """Upgrade each schema to the newest version, in a transaction of its own, all over one connection."""
    engine = create_engine(make_url(admin_url).set(drivername="postgresql+psycopg"))
    try:
        for schema in schemas:
            with engine.begin() as connection:
                connection.execute(text("SET LOCAL ROLE chowk_owner"))
                connection.execute(text(f"SET LOCAL search_path TO {schema}, public"))
                config = Config(attributes={"connection": connection, "schema": schema})
                config.set_main_option("script_location", str(Path(__file__).parent))
                config.set_main_option("version_locations", str(migrations / "tenant" / "versions"))
                config.set_main_option("path_separator", "os")
                command.upgrade(config, "head")
    finally:
        engine.dispose()
