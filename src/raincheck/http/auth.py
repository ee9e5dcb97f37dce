"""Takes a call's Authorization header, hands on the tenant."""

from raincheck.core.model import Tenant
from raincheck.http.edge import Call, edge_of


async def caller(call: Call, scope: str) -> Tenant:
    """The tenant who calls. Raises KeyMissing, KeyInvalid, ScopeMissing."""
    return await edge_of(call).gate.enter(_bearer(call), scope=scope)


def _bearer(call: Call) -> str | None:
    for name, value in call.scope["headers"]:
        if name == b"authorization":
            kind, _, secret = value.decode("latin-1").partition(" ")
            return secret.strip() if kind.lower() == "bearer" else None
    return None
