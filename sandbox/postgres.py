"""The embedded PostgreSQL: its cluster in the home, and the `Process` that serves it.

Made once, with `--locale=C.UTF-8 --encoding=UTF8` and scram passwords; served on 127.0.0.1 only, without a unix
socket (whose path may be at most 107 bytes long). A killed postmaster leaves `postmaster.pid` and backends that hold
its shared memory; both are cleared away before each start.
"""

import os
import shutil
import signal
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from core.errors import Broken, SettingInvalid
from sandbox.home import PRIVATE_MODE, Home, port_for, secret_for
from sandbox.place import data_place, owner_of, server_user, stand_in
from sandbox.ports import HOST
from sandbox.postgres_install import PostgresInstall, reachable_install
from sandbox.process import SUPERVISED_BY, OrdinaryUser, Process, describe_exit, run_job
from sandbox.process_table import Entry, program_name, read_table, working_directory
from sandbox.reaper import end_strangers

MAJOR_VERSION = "18"
ADMIN = "chowk_admin"
APP = "chowk_app"
DATABASE = "chowk"
FOLDER = "postgres"
CLUSTER = "data"

CONNECT_S = 2
#: Leftover backends of a killed postmaster get this long to notice that it is gone.
LEFTOVER_GRACE_S = 0.2

#: For two cores and little memory, durable. What customers wrote must not reach the log, so neither the statement
#: nor the DETAIL of an error, which quotes rows, is written. After a crash every file is made durable before recovery:
#: with thousands of tables one syncfs takes milliseconds where fsync of each takes seconds.
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "120",
    "max_locks_per_transaction": "256",
    "shared_buffers": "256MB",
    "wal_compression": "on",
    "synchronous_commit": "on",
    "recovery_init_sync_method": "syncfs",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_min_messages": "warning",
}


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A cluster that was made, and how it is served."""

    install: PostgresInstall
    folder: Path
    port: int
    user: OrdinaryUser | None
    fsync: bool
    admin_password: str = field(repr=False)
    app_password: str = field(repr=False)

    @property
    def cluster(self) -> Path:
        """PostgreSQL's data directory."""
        return self.folder / CLUSTER

    @property
    def admin_url(self) -> str:
        """For migrations and provisioning: the superuser, in the product's database."""
        return self._url(ADMIN, self.admin_password)

    @property
    def app_url(self) -> str:
        """`DATABASE_URL`: the login of every process. The role is made by the migrations, with this password."""
        return self._url(APP, self.app_password)

    def _url(self, role: str, password: str) -> str:
        return f"postgresql://{role}:{password}@{HOST}:{self.port}/{DATABASE}"


async def embedded_postgres(home: Home, *, fsync: bool = True) -> EmbeddedPostgres:
    """The home's cluster; made now if there is none. `fsync` off is for tests: a power cut would corrupt the data.

    Raises:
        SettingInvalid: the programs are missing, or the cluster is of another version or cannot be made.
    """
    user = server_user()
    place = data_place(home, user)
    if user is not None and (place / FOLDER / CLUSTER).exists():
        user = owner_of(place / FOLDER / CLUSTER)
    server = EmbeddedPostgres(
        install=reachable_install(place, user),
        folder=place / FOLDER,
        port=port_for(home, "postgres"),
        user=user,
        fsync=fsync,
        admin_password=secret_for(home, "postgres_admin_password"),
        app_password=secret_for(home, "postgres_app_password"),
    )
    if server.cluster.exists():
        _check_version(server)
        return server
    try:
        await _make_cluster(server, home)
    except OSError as error:
        raise SettingInvalid(
            f"no database can be made in {server.folder} ({error}); choose another --home, or set DATABASE_URL"
        ) from error
    return server


def postgres_process(server: EmbeddedPostgres, home: Home) -> Process:
    """What to supervise. SIGINT asks for a fast shutdown; SIGTERM would wait for every client to leave."""
    settings = {**SETTINGS, "port": str(server.port), "fsync": "on" if server.fsync else "off"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    async def before_start() -> None:
        await clear_leftovers(server)

    async def ready() -> bool:
        return await accepts_connections(server)

    return Process(
        name="postgres",
        argv=(str(server.install.postgres), "-D", str(server.cluster), *options),
        env=_environment(home),
        ready=ready,
        stop_signal=signal.SIGINT,
        stop_grace_s=30.0,
        user=server.user,
        publish_tree=False,
        before_start=before_start,
    )


async def clear_leftovers(server: EmbeddedPostgres) -> None:
    """End what a killed postmaster of this cluster left, and its `postmaster.pid`.

    Backends are known by their working directory, the cluster's: they overwrite their environment. The file is
    removed because the pid in it may be another process's by now, and then PostgreSQL refuses to start. Whoever calls
    this holds the home's lock, so no other supervisor serves this cluster.

    Raises:
        Broken: a leftover process does not end.
    """
    cluster = server.cluster.resolve()
    left = await end_strangers(_servers_in(cluster), grace_s=LEFTOVER_GRACE_S)
    if left:
        pids = ", ".join(str(entry.pid) for entry in left)
        raise Broken(f"processes {pids} of an earlier start hold the cluster {cluster} and do not end; end them first")
    (cluster / "postmaster.pid").unlink(missing_ok=True)


async def accepts_connections(server: EmbeddedPostgres) -> bool:
    """Whether the server answers queries; makes the product's database and pgvector's extension if missing."""
    maintenance_url = server.admin_url.rpartition("/")[0] + "/postgres"
    try:
        async with await psycopg.AsyncConnection.connect(
            maintenance_url, autocommit=True, connect_timeout=CONNECT_S
        ) as connection:
            found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if await found.fetchone() is None:
                await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        async with await psycopg.AsyncConnection.connect(
            server.admin_url, autocommit=True, connect_timeout=CONNECT_S
        ) as connection:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public")
    except psycopg.OperationalError:
        return False
    return True


def remove_cluster(home: Home) -> None:
    """Delete what the cluster keeps outside the home; what is in the home goes with it. The server must not run."""
    place = stand_in(home)
    if place.exists() and place.lstat().st_uid == os.geteuid():
        shutil.rmtree(place)


async def _make_cluster(server: EmbeddedPostgres, home: Home) -> None:
    """Run initdb in a folder of its own and move the result into place, so that there is a whole cluster or none."""
    half = server.folder / "data.half"
    shutil.rmtree(server.folder, ignore_errors=True)
    server.folder.mkdir(mode=PRIVATE_MODE)
    _give(server.folder, server.user)
    with tempfile.NamedTemporaryFile("w", dir=server.folder, encoding="ascii") as password_file:
        password_file.write(server.admin_password)
        password_file.flush()
        _give(Path(password_file.name), server.user)
        process = Process(
            name="initdb",
            argv=(
                str(server.install.initdb),
                f"--pgdata={half}",
                f"--username={ADMIN}",
                f"--pwfile={password_file.name}",
                "--auth=scram-sha-256",
                "--locale=C.UTF-8",
                "--encoding=UTF8",
                *(() if server.fsync else ("--no-sync",)),
            ),
            env=_environment(home),
            ready=None,
            user=server.user,
        )
        code, lines = await run_job(process, logs=home.logs)
    if code != 0:
        told = "\n    ".join(lines)
        raise SettingInvalid(f"initdb {describe_exit(code)}, so there is no database. Its last lines:\n    {told}")
    half.rename(server.cluster)


def _servers_in(cluster: Path) -> list[Entry]:
    return [
        entry
        for pid, entry in read_table().items()
        if entry.runs and working_directory(pid) == cluster and program_name(pid) == "postgres"
    ]


def _check_version(server: EmbeddedPostgres) -> None:
    version = (server.cluster / "PG_VERSION").read_text(encoding="ascii").strip()
    if version != MAJOR_VERSION:
        raise SettingInvalid(
            f"the data in {server.cluster} is of PostgreSQL {version}, the installed one is {MAJOR_VERSION};"
            " use the release that made it to dump it, or start with --fresh"
        )


def _give(path: Path, user: OrdinaryUser | None) -> None:
    if user is not None:
        os.chown(path, user.uid, user.gid)


def _environment(home: Home) -> dict[str, str]:
    """Only this: PG* variables of the caller would change defaults, and secrets have no business here."""
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", SUPERVISED_BY: str(home.path)}
