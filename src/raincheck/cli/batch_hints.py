"""What to type next: a command, to the one that comes back to its batch, ends it, or does its failures again.

Each can be copied as it stands: what was given and matters is in it, quoted for a shell.
"""

import shlex
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import typer

from raincheck.cli.batch_output import Unwritten

_ALWAYS = ("output", "errors", "base_url")


@dataclass(frozen=True, slots=True)
class Hints:
    """The command line of a `raincheck batch run`."""

    ctx: typer.Context

    def back(self, batch_id: str) -> str:
        """To come back to the batch. One that does failures again needs the input, to put its results where they go."""
        if self.ctx.params["retry_failed"] is None:
            return _command("run", "--resume", batch_id, *self._given(*_ALWAYS))
        return _command("run", *self._all_but("resume"), "--resume", batch_id)

    def cancel(self, batch_id: str) -> str:
        return _command("cancel", batch_id, *self._given("base_url"))

    def again(self, errors: Path) -> str:
        """To do again what failed."""
        source = self.ctx.params["source"]
        begin = ["INPUT"] if source in (None, "-") else []
        return _command("run", *begin, *self._all_but("resume", "retry_failed"), "--retry-failed", str(errors))

    @contextmanager
    def telling(self, batch_id: str) -> Generator[None]:
        """Tells whoever leaves, and whoever has no place for the results, how to come back."""
        try:
            yield
        except KeyboardInterrupt:
            typer.echo(f"\nstopped watching; the batch goes on: {self.back(batch_id)}", err=True)
            typer.echo(f"to end it: {self.cancel(batch_id)}", err=True)
            raise
        except Unwritten as error:
            told = f"{error.message}; the batch has its results still: {self.back(batch_id)}"
            raise Unwritten(told, error.code, error.kind) from None

    def _all_but(self, *names: str) -> Iterator[str]:
        others = (option.name for option in self.ctx.command.params if option.name not in names)
        return self._given(*(name for name in others if name and (name, self.ctx.params[name]) != ("source", "-")))

    def _given(self, *names: str) -> Iterator[str]:
        """What was typed, and not what a variable says: that says it again."""
        for option in self.ctx.command.params:
            source = option.name and self.ctx.get_parameter_source(option.name)
            if option.name not in names or not source or source.name != "COMMANDLINE":
                continue
            value: object = self.ctx.params[option.name]
            if option.param_type_name == "argument":
                yield str(value)
            elif value is True:
                yield option.opts[0]
            else:
                for one in cast("list[object]", value) if isinstance(value, list) else [value]:
                    yield from (option.opts[-1] if len(option.opts[-1]) == 2 else option.opts[0], str(one))


def _command(*words: str) -> str:
    return "raincheck batch " + " ".join(word if word == "INPUT" else shlex.quote(word) for word in words)
