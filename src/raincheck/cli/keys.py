"""`raincheck keys`: make, list and revoke API keys, in the store itself; a running server sees it within seconds."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from raincheck.cli.options import AsJson, Config, Name, StoreUrl, Tenant
from raincheck.cli.record import in_record
from raincheck.cli.show import moment, print_table, say
from raincheck.core.clock import now, seconds
from raincheck.core.units import parse_size

if TYPE_CHECKING:
    from raincheck.core.model import ApiKey
    from raincheck.store.protocol import Store

SCOPES = ("read", "write")
HINT_LENGTH = 8

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make, list and revoke API keys.")


@app.command()
def create(
    name: Name,
    *,
    tenant: Tenant = "default",
    scopes: Annotated[str, typer.Option(help="What it may do.")] = ",".join(SCOPES),
    max_pending: Annotated[int | None, typer.Option(min=1, help="The tenant's cap on pending requests.")] = None,
    max_body: Annotated[str | None, typer.Option(metavar="SIZE", help="The tenant's largest body, as 2MiB.")] = None,
    weight: Annotated[float | None, typer.Option(min=0.001, max=1000, help="The tenant's share of a queue.")] = None,
    store: StoreUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key. It is shown once; only its hash is kept.

    The first key closes an open server: from then on every call needs one.

    \b
    raincheck keys create laptop
    raincheck keys create reports --tenant analytics --scopes read
    raincheck keys create batch --tenant lab --max-pending 10000 --weight 0.5
    """
    wanted = frozenset(scope.strip() for scope in scopes.split(","))
    if not wanted <= set(SCOPES):
        raise typer.BadParameter(f"must be some of {','.join(SCOPES)}", param_hint="--scopes")
    import hashlib
    import secrets

    secret = f"rc_{secrets.token_urlsafe(32)}"
    body_bytes = _size(max_body)

    async def make(record: "Store") -> "ApiKey":
        from msgspec.structs import replace

        from raincheck.core.ids import new_id
        from raincheck.core.model import ApiKey

        key = ApiKey(
            id=new_id("key"), tenant=tenant, name=name, hint=secret[:HINT_LENGTH], scopes=wanted, created_at=now()
        )
        caps = {"weight": weight, "max_pending": max_pending, "max_body_bytes": body_bytes}
        if given := {name: value for name, value in caps.items() if value is not None}:
            await record.registry.put_tenant(replace(await record.registry.tenant(tenant), **given))
        await record.registry.add_key(key, hashlib.sha256(secret.encode()).digest())
        return key

    key = in_record(make, store, config)
    if as_json:
        say(json.dumps(_as_dict(key) | {"key": secret}))
        return
    say(secret)
    say(f"This is the only time it is shown. Tenant {key.tenant}, id {key.id}. To use it:", err=True)
    say(f"  export RAINCHECK_API_KEY={secret}", err=True)


@app.command("list")
def list_(store: StoreUrl = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show all keys, revoked ones too. The keys themselves are not kept, only how they begin.

    \b
    raincheck keys list
    raincheck keys list --json | jq -r '.[].id'
    """

    async def look(record: "Store") -> "list[ApiKey]":
        return await record.registry.keys()

    keys = in_record(look, store, config)
    if as_json:
        say(json.dumps([_as_dict(key) for key in keys]))
        return
    rows = [
        (key.id, key.name, f"{key.hint}…", key.tenant, ",".join(sorted(key.scopes)), moment(seconds(key.created_at)),
         f"revoked {moment(seconds(key.revoked_at))}" if key.revoked_at else "valid")
        for key in keys
    ]  # fmt: skip
    print_table(("id", "name", "begins", "tenant", "scopes", "made", "state"), rows, empty="no keys yet")


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As shown by `raincheck keys list`.")],
    store: StoreUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Make a key useless, for good. A running server refuses it within two seconds.

    \b
    raincheck keys revoke key_0199…
    """

    async def undo(record: "Store") -> "ApiKey":
        return await record.registry.revoke_key(key_id)

    key = in_record(undo, store, config)
    say(json.dumps(_as_dict(key)) if as_json else f"revoked {key.id} ({key.name}, tenant {key.tenant})")


def _size(text: str | None) -> int | None:
    try:
        return None if text is None else parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--max-body") from None


def _as_dict(key: "ApiKey") -> dict[str, object]:
    return {
        "id": key.id, "object": "key", "name": key.name, "hint": key.hint, "tenant": key.tenant,
        "scopes": sorted(key.scopes), "created_at": seconds(key.created_at),
        "revoked_at": seconds(key.revoked_at) if key.revoked_at else None,
    }  # fmt: skip
