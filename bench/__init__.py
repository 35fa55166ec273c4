"""The figures that are published, one module each."""

import core as core  # first: LangGraph reads the policy that stands there once, when it is imported
