"""`raincheck queues` and `raincheck upstreams`: how they stand, and what they may be asked for, over all workers.

Both are the same family of commands, made once per scope. They change the store itself: a running server follows at
once, or within seconds when it is another process that looks at the store only now and then.
"""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from raincheck.cli.extras import settings_for
from raincheck.cli.options import AsJson, Config, ItsName, StoreUrl, refuse_dropped, value_or_none
from raincheck.cli.record import in_record
from raincheck.cli.show import print_table, say
from raincheck.cli.standing import COLUMNS, as_dict, limits_of, row, state_of
from raincheck.core.clock import FOREVER, now
from raincheck.core.units import CONCURRENCY, PER_MINUTE, parse_duration

if TYPE_CHECKING:
    from raincheck.core.model import Queue, Scope, Throttle
    from raincheck.store.protocol import Registry, Store

BY_OPERATOR = "paused by an operator"
EMPTY: "dict[Scope, str]" = {"queue": "no queues yet", "upstream": "no upstream has a limit or a pause"}
UNHEARD_OF: "dict[Scope, str]" = {
    "queue": "there is no queue {name!r} yet; when there is one, this holds for it",
    # The store knows of an upstream only what is asked of it here; which there are is for servers and workers to say.
    "upstream": "no limits or pauses were recorded for an upstream {name!r} so far; check the name "
    "(`raincheck check` lists those of a configuration)",
}


def family(scope: "Scope", example: str) -> typer.Typer:
    """The commands for one scope; `example` is a name as the helps show it."""
    plural = f"{scope}s"
    app = typer.Typer(
        rich_markup_mode=None, help=f"Show, pause, resume and limit {plural}, over all workers; by itself: list."
    )

    def told(text: str) -> str:
        one = f"{'an' if scope == 'upstream' else 'a'} {scope}"
        return text.format(one=one, plural=plural, example=example)

    @app.callback(invoke_without_command=True)
    def bare(ctx: typer.Context, store: StoreUrl = None, config: Config = None, as_json: AsJson = False) -> None:
        refuse_dropped(ctx)
        if ctx.invoked_subcommand is None:
            list_(store, config, as_json)

    @app.command("list", help=told(LIST))
    def list_(store: StoreUrl = None, config: Config = None, as_json: AsJson = False) -> None:
        lines = in_record(lambda record: _look(record, scope), store, config, existing=True)
        if as_json:
            say(json.dumps([as_dict(*line) for line in lines]))
        else:
            print_table(COLUMNS[scope], [row(*line) for line in lines], empty=EMPTY[scope])

    @app.command(help=told(PAUSE))
    def pause(
        name: ItsName,
        *,
        for_: Annotated[str | None, typer.Option("--for", metavar="DURATION", help="How long: 90s, 10m, 1h.")] = None,
        reason: Annotated[str, typer.Option(help="Why, for everyone whose request waits.")] = BY_OPERATOR,
        store: StoreUrl = None,
        config: Config = None,
        as_json: AsJson = False,
    ) -> None:
        until = FOREVER if for_ is None else now() + _length(for_)
        why = _line(reason)

        async def work(record: "Store") -> "Throttle":
            await _look_for(record, scope, name, config)
            await record.registry.pause(scope, name, until=until, reason=why)
            return await _throttle(record.registry, scope, name)

        _show(in_record(work, store, config), as_json)

    @app.command(help=told(RESUME))
    def resume(name: ItsName, store: StoreUrl = None, config: Config = None, as_json: AsJson = False) -> None:
        async def work(record: "Store") -> "Throttle":
            await _look_for(record, scope, name, config)
            await record.registry.pause(scope, name, until=None)
            return await _throttle(record.registry, scope, name)

        _show(in_record(work, store, config), as_json)

    @app.command("set", help=told(SET))
    def set_(
        name: ItsName,
        *,
        max_concurrency: Annotated[
            str | None, typer.Option(metavar="N|auto|none", help="How many run at once; auto finds what goes well.")
        ] = None,
        rpm: Annotated[str | None, typer.Option(metavar="N|none", help="How many start in any minute.")] = None,
        tpm: Annotated[str | None, typer.Option(metavar="N|none", help="How many tokens those use.")] = None,
        store: StoreUrl = None,
        config: Config = None,
        as_json: AsJson = False,
    ) -> None:
        given = {"max_concurrency": (max_concurrency, CONCURRENCY), "rpm": (rpm, PER_MINUTE), "tpm": (tpm, PER_MINUTE)}
        changes = {limit: value_or_none(text, unit, limit) for limit, (text, unit) in given.items() if text is not None}
        if not changes:
            raise typer.BadParameter("give at least one of --max-concurrency, --rpm and --tpm")

        async def work(record: "Store") -> "Throttle":
            from msgspec.structs import replace

            was = await _look_for(record, scope, name, config)
            await record.registry.set_limits(scope, name, replace(was.limits, **changes))
            return await _throttle(record.registry, scope, name)

        _show(in_record(work, store, config), as_json)

    return app


LIST = """Show {plural}: their numbers, limits, and what holds them up.

    \b
    raincheck {plural} list
    raincheck {plural} list --json | jq -r '.[] | select(.paused) | .name'
    """
PAUSE = """Let no worker start anything more of {one}, until it is resumed. What runs goes on.

    \b
    raincheck {plural} pause {example} --for 10m --reason "new weights are being loaded"
    raincheck {plural} pause {example}
    """
RESUME = """End a pause, also one that an upstream asked for with Retry-After.

    \b
    raincheck {plural} resume {example}
    """
SET = """Limit {one}, over all workers. Limits that are not named stay; `none` takes one away.

    What raincheck.toml says of {one} is set anew by each process that works (`raincheck work`, and `raincheck serve`
    without --no-worker) when it starts: to stay, it must stand there.

    \b
    raincheck {plural} set {example} --max-concurrency 7 --rpm 120
    raincheck {plural} set {example} --max-concurrency auto --tpm none
    """


async def _look(record: "Store", scope: "Scope") -> "list[tuple[Throttle, Queue | None]]":
    """What has limits or is paused; of queues also those that have neither."""
    from raincheck.core.model import Throttle

    throttles = {one.name: one for one in await record.registry.throttles(scope)}
    found = await record.registry.queues() if scope == "queue" else []
    queues = {one.name: one for one in found}
    return [
        (throttles.get(name) or Throttle(scope=scope, name=name), queues.get(name))
        for name in sorted(throttles | queues)
    ]


async def _look_for(record: "Store", scope: "Scope", name: str, config: str | None) -> "Throttle":
    """Its limits until now. One that nobody has heard of is told: it may be a slip of the pen."""
    from raincheck.core.model import Throttle

    for throttle, _ in await _look(record, scope):
        if throttle.name == name:
            return throttle
    if scope == "queue" or all(name != each.name for each in settings_for(config, {}).upstreams):
        say(f"raincheck: {UNHEARD_OF[scope].format(name=name)}", err=True)
    return Throttle(scope=scope, name=name)


async def _throttle(registry: "Registry", scope: "Scope", name: str) -> "Throttle":
    from raincheck.core.model import Throttle

    found = (one for one in await registry.throttles(scope) if one.name == name)
    return next(found, Throttle(scope=scope, name=name))


def _show(throttle: "Throttle", as_json: bool) -> None:
    if as_json:
        say(json.dumps(as_dict(throttle)))
    else:
        facts = [limits_of(throttle) or "no limits", state_of(throttle) or "not paused"]
        say(f"{throttle.name}: {', '.join(facts)}")


def _length(text: str) -> int:
    try:
        length = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--for") from None
    if length <= 0:
        raise typer.BadParameter("must be more than 0 seconds", param_hint="--for")
    return length


def _line(reason: str) -> str:
    if not reason.strip() or not reason.isprintable():
        raise typer.BadParameter("must be text on one line, and not empty", param_hint="--reason")
    return reason.strip()


queues = family("queue", "qwen3-8b")
upstreams = family("upstream", "gpu-pool")
