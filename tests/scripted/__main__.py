"""The scripted upstream as a process of its own."""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from tests.scripted import HELLO, ScriptedUpstream, text


async def _serve(options: argparse.Namespace, log: TextIO | None) -> None:
    words = " ".join(f"word{number}" for number in range(options.tokens)) if options.tokens else HELLO
    slow = bool(options.delay or options.pause or options.tokens)
    default = text(words, delay=options.delay, pause=options.pause) if slow else None
    upstream = ScriptedUpstream(options.models, port=options.port, default=default, keep_requests=False, log=log)
    async with upstream:
        print(f"listening on {upstream.base_url}", flush=True)
        await asyncio.Event().wait()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scripted", description="A scripted upstream.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--models", nargs="+", default=["m"])
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds after each word")
    parser.add_argument("--tokens", type=int, default=0, help="how many words to answer")
    parser.add_argument(
        "--json-log", type=Path, help="append a JSON line to this file when a call begins and when it ends"
    )
    options = parser.parse_args(arguments)
    log = options.json_log.open("a") if options.json_log else None
    if sys.platform != "win32":
        import uvloop

        runner = uvloop.run
    else:
        runner = asyncio.run
    with contextlib.suppress(KeyboardInterrupt):
        runner(_serve(options, log))


if __name__ == "__main__":
    main()
