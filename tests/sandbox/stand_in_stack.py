"""`chowk dev` with stand-ins for the product's own processes; database, Redis and everything around them are real.

python -m tests.sandbox.stand_in_stack PORT HOME [fresh]
"""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sandbox import stack
from sandbox.home import Home
from sandbox.process import Process
from sandbox.stack import Plan, development_plan, run_dev

#: An HTTP server that answers 200 to everything, on the port that stands last among its arguments.
SERVES = """
import http.server, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""

POLLS = """
import os, signal
open(os.environ["CHOWK_READY_FILE"], "w").close()
signal.pause()
"""

#: Counts its runs, and refuses to run without the administrator's URL.
PREPARES = """
import json, os, pathlib
assert os.environ["CHOWK_ADMIN_DATABASE_URL"].startswith("postgresql://chowk_admin:")
home = pathlib.Path(os.environ["CHOWK_HOME"])
seed = home / "seed.json"
runs = json.loads(seed.read_text())["facts"]["runs"] if seed.exists() else 0
seed.write_text(json.dumps({"facts": {"tenant": "t_demo", "runs": runs + 1}}))
print("seeding 41 articles", flush=True)
"""

STAND_INS = {"api": SERVES, "emulator": SERVES, "worker": POLLS, "beat": POLLS, "prepare": PREPARES}


async def plan_with_stand_ins(home: Home, environment: Mapping[str, str], *, port: int) -> Plan:
    plan = await development_plan(home, environment, port=port)
    return replace(plan, processes=tuple(_stand_in(process) for process in plan.processes))


def _stand_in(process: Process) -> Process:
    code = STAND_INS.get(process.name)
    if code is None:
        return process
    return replace(process, argv=(sys.executable, "-S", "-c", code, *process.argv[1:]))


if __name__ == "__main__":
    stack.development_plan = plan_with_stand_ins
    sys.exit(
        asyncio.run(run_dev(port=int(sys.argv[1]), home=Path(sys.argv[2]), fresh="fresh" in sys.argv, verbose=False))
    )
