"""`raincheck tenants`: each tenant's share of a queue and its caps."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from raincheck.cli.options import AsJson, Config, ItsName, StoreUrl, refuse_dropped, value_or_none
from raincheck.cli.record import in_record
from raincheck.cli.show import print_table, say
from raincheck.core.units import SIZE, whole

if TYPE_CHECKING:
    from raincheck.core.model import Tenant
    from raincheck.store.protocol import Store

AMOUNT = whole(1, 1_000_000_000)
COLUMNS = ("name", "weight", "max pending", "max running", "max body")

app = typer.Typer(rich_markup_mode=None, help="Show and set tenants' shares and caps; by itself: list.")


@app.callback(invoke_without_command=True)
def bare(ctx: typer.Context, store: StoreUrl = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show and set tenants' shares and caps; by itself: list."""
    refuse_dropped(ctx)
    if ctx.invoked_subcommand is None:
        list_(store, config, as_json)


@app.command("list")
def list_(
    store: StoreUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show every tenant that has an API key, a share or a cap, and `default`.

    \b
    raincheck tenants list
    raincheck tenants list --json | jq '.[] | select(.max_running)'
    """

    async def look(record: "Store") -> "list[Tenant]":
        from raincheck.core.model import LOCAL_TENANT

        known = {tenant.name: tenant for tenant in await record.registry.tenants()}
        known.setdefault(LOCAL_TENANT, await record.registry.tenant(LOCAL_TENANT))
        return [known[name] for name in sorted(known)]

    found = in_record(look, store, config, existing=True)
    if as_json:
        say(json.dumps([_as_dict(tenant) for tenant in found]))
    else:
        print_table(COLUMNS, [_row(tenant) for tenant in found], empty="no tenants")


@app.command("set")
def set_(
    name: ItsName,
    *,
    weight: Annotated[float | None, typer.Option(min=0.001, max=1000, help="Its share of a queue.")] = None,
    max_pending: Annotated[str | None, typer.Option(metavar="N|none", help="How many may wait.")] = None,
    max_running: Annotated[
        str | None, typer.Option(metavar="N|none", help="How many are worked on at once, over all queues.")
    ] = None,
    max_body: Annotated[str | None, typer.Option(metavar="SIZE|none", help="Its largest body, as 2MiB.")] = None,
    store: StoreUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Set a tenant's share and caps. What is not named stays; `none` takes a cap away.

    A running server follows within two seconds. The weight and the cap on pending requests hold for what is submitted
    from then on, the cap on running ones for what is started.

    \b
    raincheck tenants set lab --weight 3 --max-running 8
    raincheck tenants set lab --max-pending none --max-body 2MiB
    """
    changes = dict[str, object]() if weight is None else {"weight": weight}
    given = {
        "max_pending": (max_pending, AMOUNT, "max_pending"),
        "max_running": (max_running, AMOUNT, "max_running"),
        "max_body_bytes": (max_body, SIZE, "max_body"),
    }
    changes |= {cap: value_or_none(text, unit, of) for cap, (text, unit, of) in given.items() if text is not None}
    if not changes:
        raise typer.BadParameter("give at least one of --weight, --max-pending, --max-running and --max-body")

    async def work(record: "Store") -> "Tenant":
        from msgspec.structs import replace

        if name not in {"default", *(key.tenant for key in await record.registry.keys())}:
            # It may be a slip of the pen.
            say(f"raincheck: tenant {name!r} has no key yet; when it has one, this holds for it", err=True)
        tenant = replace(await record.registry.tenant(name), **changes)
        await record.registry.put_tenant(tenant)
        return tenant

    tenant = in_record(work, store, config)
    if as_json:
        say(json.dumps(_as_dict(tenant)))
    else:
        told = ", ".join(f"{column} {cell}" for column, cell in zip(COLUMNS[1:], _row(tenant)[1:], strict=True) if cell)
        say(f"{tenant.name}: {told}")


def _row(tenant: "Tenant") -> tuple[str, ...]:
    caps = (tenant.max_pending, tenant.max_running, tenant.max_body_bytes)
    return tenant.name, f"{tenant.weight:g}", *("" if cap is None else str(cap) for cap in caps)


def _as_dict(tenant: "Tenant") -> dict[str, object]:
    return {
        "name": tenant.name, "object": "tenant", "weight": tenant.weight, "max_pending": tenant.max_pending,
        "max_running": tenant.max_running, "max_body_bytes": tenant.max_body_bytes,
    }  # fmt: skip
