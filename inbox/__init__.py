"""What came in: stored raw and sealed, split into events, exploded into each tenant's own rows."""
