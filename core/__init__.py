"""What every other layer may lean on: settings, errors, logs, telemetry, crypto, clock, ids, HTTP.

LangGraph reads its deserialiser policy once, when it is imported, so the strict policy is set here:
every process of ours imports `core` before it imports LangGraph, and `checkpoints.saver` asserts it.
"""

import os

os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"
