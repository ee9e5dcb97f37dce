"""Takes the bodies of calls on webhooks, hands on what they say once that is fit to be kept."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TypeVar

import msgspec

from raincheck.core.errors import BadInput, NotJson
from raincheck.core.events import ALL, known_types, meant, unknown_type
from raincheck.core.ids import new_id
from raincheck.core.model import Tenant
from raincheck.core.webhooks import OVERLAP, Endpoint, EndpointChange, Signature
from raincheck.http.codec import is_json, wrong_type
from raincheck.http.edge import Call, edge_of
from raincheck.http.posting import read_body
from raincheck.intake.admit import fit_webhook_url
from raincheck.intake.bodies import read_object
from raincheck.intake.gate import check_size
from raincheck.intake.options import Moment

T = TypeVar("T")
LONGEST_NAME = 256
MOST_TYPES = 100
_ASKED = ("name", "url", "event_types", "include_result", "signature")
"""What whoever asks for an endpoint says of it."""


class NewOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a new endpoint may be told beside OpenAI's members."""

    include_result: bool = False
    signature: Signature = "v1"


class NewBody(msgspec.Struct, kw_only=True):
    """A call for an endpoint. Other members mean nothing here."""

    name: str
    url: str
    event_types: list[str]
    raincheck: NewOptions = NewOptions()


class ChangeOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of that may be changed, and whether anything is sent there."""

    enabled: bool | None = None
    include_result: bool | None = None


class ChangeBody(msgspec.Struct, kw_only=True):
    """What shall be changed of an endpoint."""

    name: str | None = None
    url: str | None = None
    event_types: list[str] | None = None
    raincheck: ChangeOptions = ChangeOptions()


class RotateBody(msgspec.Struct):
    """How a secret is replaced."""

    keep_old_secret_active_for_24_hours: bool = False
    """As OpenAI has it: who says nothing has a secret that others know."""

    @property
    def overlap(self) -> int:
        """For how many microseconds the old one signs too."""
        return OVERLAP if self.keep_old_secret_active_for_24_hours else 0


class TestBody(msgspec.Struct):
    """Of what a test tells."""

    event_type: str


class RedeliverBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to send again."""

    since: Moment
    until: Moment | None = None
    endpoint_id: str | None = None
    delivered_too: bool = False


async def read_said(call: Call, tenant: Tenant, kind: type[T]) -> T:
    """What the body of a call says; nothing at all is an empty object. Raises BadInput, NotJson, TooLarge,
    ClientGone."""
    body = await read_body(call.receive)
    check_size(tenant, len(body))
    if body and not is_json(dict(call.scope["headers"]).get(b"content-type")):
        raise NotJson
    read_object(body or b"{}")
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise wrong_type(error) from None


def new_endpoint(call: Call, tenant: Tenant, body: NewBody) -> Endpoint:
    """The endpoint that is asked for. Raises BadInput, WebhookRefused."""
    now = edge_of(call).clock()
    return Endpoint(
        id=new_id("we"),
        tenant=tenant.name,
        name=_fit_name(body.name),
        url=_fit_url(call, body.url),
        event_types=_fit_types(body.event_types),
        include_result=body.raincheck.include_result,
        signature=body.raincheck.signature,
        created_at=now,
        updated_at=now,
    )


def is_like(one: Endpoint, other: Endpoint) -> bool:
    """Whether the same was asked for."""
    return all(getattr(one, name) == getattr(other, name) for name in _ASKED)


def change_of(call: Call, body: ChangeBody) -> EndpointChange:
    """What to change. Raises BadInput, WebhookRefused."""
    return EndpointChange(
        name=None if body.name is None else _fit_name(body.name),
        url=None if body.url is None else _fit_url(call, body.url),
        event_types=None if body.event_types is None else _fit_types(body.event_types),
        include_result=body.raincheck.include_result,
        enabled=body.raincheck.enabled,
    )


def _fit_name(name: str) -> str:
    """The same, when it can be kept. Raises BadInput."""
    # Names are printed in lists, on terminals too.
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise BadInput(
            f"name must have 1 to {LONGEST_NAME} characters, all of them printable: no line ends, no control codes.",
            param="name",
        )
    return name


def _fit_url(call: Call, url: str) -> str:
    """The same, when webhooks may go there as far as it tells itself. Raises WebhookRefused."""
    fit_webhook_url(url, edge_of(call).settings.webhook_hosts, param="url")
    return url


def _fit_types(types: Sequence[str]) -> tuple[str, ...]:
    """The same, each once. Raises BadInput for none, too many, and what no event is called."""
    if not 1 <= len(types) <= MOST_TYPES:
        raise BadInput(
            f"event_types must name 1 to {MOST_TYPES} types of events, or `{ALL}` for every end.", param="event_types"
        )
    check_type(types, "event_types")
    return tuple(dict.fromkeys(types))


def check_type(types: Sequence[str], param: str) -> None:
    """Raise BadInput for the first that no event is called, with those that are called almost so."""
    if (unknown := unknown_type(types)) is None:
        return
    near = [right] if (right := meant(unknown)) else get_close_matches(unknown, known_types(), n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise BadInput(
        f"No event is called {unknown[:128]!r}.{hint} See the list of types: GET /v1/webhook_event_types.", param=param
    )
