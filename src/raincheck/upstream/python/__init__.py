"""The upstream of kind `python`: a function of the user's does the work, off the event loop.

    def handle(payload: dict, job: Job) -> dict: ...

The function may be `async def`; the second parameter may be left out. It gets the JSON body as a dictionary and
returns what the caller shall read: anything msgspec can write as JSON, or JSON text as `str` or `bytes`. To say no for
good it raises `Reject`, to be asked again later `Busy`; any other exception is worth another attempt.
"""

from raincheck.upstream.python.job import Busy, Cancelled, Job, Reject
from raincheck.upstream.python.upstream import PythonUpstream

__all__ = ["Busy", "Cancelled", "Job", "PythonUpstream", "Reject"]
