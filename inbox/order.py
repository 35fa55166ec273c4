"""In which order a conversation is read: as it was said, by the provider's clock, however its webhooks arrived.

A provider's clock is believed as far as it can be true. Nothing was said after it was received, and what claims to be
older than any delay only has a wrong clock; such a message takes the moment of its receipt and moves no other.
"""

from typing import Final

#: Meta tries a webhook again for seven days and mail servers for five: what is older was not held up on its way.
DELAY_D_MAX: Final = 30

#: When a row of `messages` was said. Ties are ordered by `sequence`. A time in whole seconds means any moment of that
#: second: it counts as its end, or a quick answer would stand before the reply that it answers.
SAID_AT: Final = f"""
CASE WHEN provider_ts >= received_ts - interval '{DELAY_D_MAX} days'
     THEN least(received_ts, provider_ts + CASE WHEN provider_ts = date_trunc('second', provider_ts)
                                                THEN interval '999999 microseconds' ELSE interval '0' END)
     ELSE received_ts END
"""
