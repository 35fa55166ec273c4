"""What every connection of ours is told when it opens."""

from db.pools import Database


async def test_a_session_that_sleeps_inside_a_transaction_is_ended_by_the_server(database: Database) -> None:
    for pool in (database.app, database.edge):
        async with pool.connection() as connection:
            shown = await (await connection.execute("SHOW idle_in_transaction_session_timeout")).fetchone()
            assert shown == {"idle_in_transaction_session_timeout": "5s"}
