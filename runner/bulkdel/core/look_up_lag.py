"""How far look-ups may lag behind a request, and when one that may lag is repeated. Pure."""

from __future__ import annotations

# An id that the API refuses as unknown although a look-up finds it is looked up again: look-ups may lag.
LOOKS_AGAIN_MAX = 3
LOOK_AGAIN_FIRST_S = 1.0  # before the first further look-up; it doubles each time, so 7 s in all
RENEWALS_MAX = 3  # times that a look-up is repeated because it was too old when its request could leave
LAG_VAIN_MAX = 20  # after so many chunks in a row for which this changed nothing, a session waits no more
INTENT_AGE_MAX_S = 30.0  # a request that leaves later has another intent, which says so
LAG_MAX_S = 600.0  # longest lag of a look-up behind a request that is allowed for


def look_again_s(again: int) -> float:
    """Seconds to wait before further look-up number `again` (from 1); 0 for the first look-up of all."""
    return LOOK_AGAIN_FIRST_S * 2.0 ** (again - 1) if again else 0.0
