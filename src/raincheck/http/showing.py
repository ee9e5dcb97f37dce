"""Takes a record that a call has written, hands on as much of the request object as the call's key may see."""

from raincheck.core.model import Request
from raincheck.http.auth import may_read
from raincheck.http.edge import Call, base_of, edge_of
from raincheck.http.render import receipt_json, view_json


async def shown(call: Call, request: Request) -> bytes:
    """The whole request object, or a receipt for a key that may only write."""
    if await may_read(call):
        return view_json(await edge_of(call).desk.complete(request), base_of(call))
    return receipt_json(request)
