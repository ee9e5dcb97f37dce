"""The time that never comes: it marks requests set aside because their tenant runs as many as it may.

Both stores write it to `due_at`, so that such a row is neither ready nor ever due, and no claim meets it again before
one of the tenant's requests has ended.
"""

PARKED = 1 << 62
"""Microseconds since the epoch, some 146,000 years from now; the partial index `request_parked` names it too."""
