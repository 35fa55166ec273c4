"""Where a run stands: LangGraph's checkpoints in the tenant's own schema, through a pool that nothing else uses."""
