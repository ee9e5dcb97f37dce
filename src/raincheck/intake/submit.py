"""Takes a NewRequest, hands on its record once that is on disk (G1)."""

from raincheck.core.errors import RaincheckError
from raincheck.core.model import NewRequest, Submitted
from raincheck.store.protocol import Requests


async def submit(requests: Requests, new: NewRequest) -> Submitted:
    """Record one request. Raises what the store refuses it with: IdempotencyConflict, QuotaExceeded, StoreUnavailable.

    A batch of one: the store gathers those that arrive together into one transaction.
    """
    [answer] = await requests.submit([new])
    if isinstance(answer, RaincheckError):
        raise answer
    return answer
