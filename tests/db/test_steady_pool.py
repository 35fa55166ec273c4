import asyncio

from db.steady_pool import NEVER, SteadyPool
from tests.eventually import eventually

#: With waits that double, so many attempts take minutes: far longer than anything here is awaited.
ATTEMPTS = 8


async def test_attempts_to_connect_do_not_get_rarer_while_the_server_is_away() -> None:
    attempts = 0

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.close()

    async def often() -> bool:
        return attempts >= ATTEMPTS

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pool = SteadyPool(
        f"postgresql://nobody@127.0.0.1:{port}/nothing?sslmode=disable",
        min_size=1, max_size=1, open=False, reconnect_timeout=NEVER,
    )  # fmt: skip
    await pool.open()
    try:
        await eventually(often)
    finally:
        await pool.close()
        server.close()
