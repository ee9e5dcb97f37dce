"""Takes a call's Authorization header, hands on the tenant."""

from raincheck.core.errors import ScopeMissing
from raincheck.core.model import Tenant
from raincheck.http.edge import Call, edge_of
from raincheck.intake.gate import Scope


async def caller(call: Call, *scopes: Scope) -> Tenant:
    """The tenant who calls, with a key that has all of these. Raises KeyMissing, KeyInvalid, ScopeMissing."""
    return await edge_of(call).gate.enter(_bearer(call), scopes)


async def may_read(call: Call) -> bool:
    """Whether the caller, let in to write, may see results and all else that was recorded."""
    try:
        await caller(call, "read")
    except ScopeMissing:
        return False
    return True


def _bearer(call: Call) -> str | None:
    for name, value in call.scope["headers"]:
        if name == b"authorization":
            kind, _, secret = value.decode("latin-1").partition(" ")
            return secret.strip() if kind.lower() == "bearer" else None
    return None
