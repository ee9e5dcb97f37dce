"""The upstream of kind `python`: a function of the user's does the work, off the event loop.

    def handle(payload: dict, job: Job) -> dict: ...

The function may be `async def`; the second parameter may be left out. It gets the JSON body as a dictionary and
returns what the caller shall read: anything msgspec can write as JSON, or JSON text as `str` or `bytes`. A `Path` or a
`File`, as the result or anywhere in it, becomes an attachment of the request and is named in the JSON. To say no for
good it raises `Reject`, to be asked again later `Busy`; any other exception is worth another attempt.

It may be a generator: a number it yields is its progress, and so is `(number, "words")`; anything else is a piece of
the answer for those who follow, but for the last, which is the result. (One that is no async may `return` it.)
"""

from raincheck.upstream.python.files import File
from raincheck.upstream.python.job import Busy, Cancelled, Job, Reject
from raincheck.upstream.python.upstream import PythonUpstream

__all__ = ["Busy", "Cancelled", "File", "Job", "PythonUpstream", "Reject"]
