"""`raincheck`: takes the command line, hands it to the family of commands it names, and answers with an exit code."""

from typing import Annotated

import typer
from typer.core import TyperGroup

from raincheck.cli import (
    ask,
    batches,
    check,
    demo,
    keys,
    limits,
    manage,
    model,
    serve,
    store,
    submit,
    tenants,
    videos,
    wait,
    webhooks,
    work,
    workers,
)
from raincheck.cli.exits import CODES, end_badly, explain
from raincheck.cli.options import JSON_ASKED


class Desk(TyperGroup):
    """The commands, with errors told in a line instead of a traceback."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        for argument in args:
            # Python lets other bytes pass as halves of characters, which can be sent nowhere.
            if any("\ud800" <= letter <= "\udfff" for letter in argument):
                raise typer.BadParameter(f"{argument!r} is not UTF-8 text", ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: typer.Context) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            return super().invoke(ctx)
        except Exception as error:
            if (problem := explain(error)) is None:
                raise
            raise end_badly(problem, as_json=bool(ctx.meta.get(JSON_ASKED))) from None


_EXIT_CODES = "\n".join(f"  {code:>3}  {told}" for code, told in CODES.items())

app = typer.Typer(
    cls=Desk,
    name="raincheck",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"\b\nExit codes:\n{_EXIT_CODES}",
)


def _version(asked: bool) -> None:
    if asked:
        from raincheck import __version__

        typer.echo(f"raincheck {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Raincheck: submit AI inference now, collect the result later.

    \b
    raincheck demo                              # see it work, in under a minute
    raincheck serve                             # the server, with an embedded toy model
    raincheck submit "Hello?" --wait            # in another terminal
    """


app.command("serve")(serve.serve)
app.command("work")(work.work)
app.command("demo")(demo.demo)
app.command("submit")(submit.submit)
app.command("wait")(wait.wait)
app.command("events")(wait.events)
app.command("status")(ask.status)
app.command("list")(ask.list_)
app.command("cancel")(manage.cancel)
app.command("requeue")(manage.requeue)
app.command("download")(videos.download)
app.command("check")(check.check)
app.command("workers")(workers.workers)
app.add_typer(batches.app, name="batch")
app.add_typer(videos.app, name="videos")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(limits.queues, name="queues")
app.add_typer(limits.upstreams, name="upstreams")
app.add_typer(keys.app, name="keys")
app.add_typer(tenants.app, name="tenants")
app.add_typer(model.app, name="model")
app.add_typer(store.app, name="store")


def main() -> None:
    """The entry point of the `raincheck` script."""
    app()


if __name__ == "__main__":
    main()
