"""Which events were handled before."""

import threading
from collections import OrderedDict


class Seen:
    """The ids of the last events that were handled, `keep` of them; safe to share between threads.

        seen = Seen()
        try:
            event = verify(body, headers, secret, seen=seen)
        except Replayed:
            return 204
        handle(event)
        seen.add(event.id)

    Add an id when its event has been handled, not before: what fails in between is sent again and must be let in.

    It is forgotten with the process, and no other process knows of it. Where that matters, keep ids where the work is
    kept: in a column with a unique index, written in the same transaction as what handling brings about. An id
    comes back within days (each retry, and whatever is sent again by hand), so keep them for as long as that.
    """

    def __init__(self, keep: int = 10_000) -> None:
        if keep < 1:
            raise ValueError("keep must be at least 1.")
        self._keep = keep
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, event_id: str) -> None:
        """The event has been handled."""
        with self._lock:
            self._ids[event_id] = None
            self._ids.move_to_end(event_id)
            if len(self._ids) > self._keep:
                self._ids.popitem(last=False)

    def __contains__(self, event_id: object) -> bool:
        with self._lock:
            return event_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)
