"""Chaos: strangers write to a whole running stack while everything it stands on is killed, paused, cut off and slowed.

    make chaos SECONDS=300 SEED=7

A schedule, which is a pure function of (seed, seconds, rate), says who writes what and when, how each post and each
call of the provider goes wrong, and which process dies at which millisecond (`scenario`). Real processes follow it in
real time (`drive`). What must be true afterwards follows from the schedule alone (`expectation`), is read from the
database and the emulated provider (`evidence`), and is compared (`judge`).
"""
