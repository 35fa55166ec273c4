"""What every other layer may lean on: settings, errors, logs, telemetry, crypto, clock, ids, HTTP.

LangGraph reads its deserialiser policy once, when it is imported, so the strict policy is set here:
every process of ours imports `core` before it imports LangGraph, and `checkpoints.saver` asserts it.

The same holds for numpy's linear algebra. One thread per process: on two cores, two processes with two threads each
took 20 ms for a query's vector instead of 7, and four times the processor time. Scale by processes.
"""

import os

os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
