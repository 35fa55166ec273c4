"""Every outside channel: one closed vocabulary in, one out, and an adapter per provider.

Provider JSON never leaves this package, except as the raw copy that is kept sealed for replay.
"""
