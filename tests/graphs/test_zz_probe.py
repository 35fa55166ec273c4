import json
from tests.graphs.operated import operated
from db.transactions import tenant_tx
from graphs import fork_commands
from checkpoints.operations import steps_of

async def test_probe(stack, database, sealer):
    async with operated(stack, database, sealer) as o:
        turn = await o.answered("office timings")
        turn2 = (await o.hear("office timings, and what about the 80G receipt?"), await o.advance())[1][0]
        async with tenant_tx(database, o.tenant_id, commit="test") as c:
            r = await fork_commands.replay(c, turn2.run_id, by="me")
        done = await o.advance()
        print([ (await o.run(d.run_id)) for d in done])
        async with tenant_tx(database, o.tenant_id, commit="test") as c:
            a = await steps_of(c, turn2.run_id)
            b = await steps_of(c, r)
        json.dump([a,b], open("/tmp/scratch/runs/steps.json","w"), default=str, indent=1)
        async with tenant_tx(database, o.tenant_id, commit="test") as c:
            r = await fork_commands.fork(c, turn2.run_id, by="me")
        done = await o.advance()
        print([ (await o.run(d.run_id)) for d in done])
        assert 0
