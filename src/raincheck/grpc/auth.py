"""`xai_api.Auth`: which API key this is, without the key."""

from google.protobuf.empty_pb2 import Empty

from raincheck.core.model import ApiKey, Tenant
from raincheck.grpc.call import Call
from raincheck.grpc.methods import Method, Methods
from raincheck.grpc.protos import auth_pb2


async def tell_key(call: Call, message: Empty) -> auth_pb2.ApiKey:
    """Any key may ask what it is, whatever its scopes."""
    del message
    return _shown(*await call.edge.gate.key(call.secret))


def _shown(tenant: Tenant, key: ApiKey | None) -> auth_pb2.ApiKey:
    if key is None:
        return auth_pb2.ApiKey(name="open server: no API key exists", team_id=tenant.name, acls=("read", "write"))
    shown = auth_pb2.ApiKey(
        redacted_api_key=f"{key.hint}…",
        name=key.name,
        team_id=key.tenant,
        acls=sorted(key.scopes),
        api_key_id=key.id,
    )
    shown.create_time.FromMicroseconds(key.created_at)
    return shown


METHODS: Methods = {"/xai_api.Auth/get_api_key_info": Method(Empty, answer=tell_key)}
