"""What a script of checks is made of: named checks in, one JSON line for each out.

It runs in the client's own environment, beside nothing but that client, so it needs the standard library alone. A
check is a function that makes a call as users write it and asserts what comes back. It returns nothing when all is as
with the hosted service, and `differs("how")` when it is not but is meant to be so: what it asserts then is the
difference, so that the check fails when that changes.
"""

import json
import sys
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import uuid4

from tests.clients.receiver import Receiver

E = TypeVar("E", bound=Exception)
T = TypeVar("T")


@dataclass(frozen=True)
class Given:
    """What a check may use."""

    url: str
    """Of the server, without a path."""
    grpc_host: str
    key: str
    receiver: Receiver
    """Which the server may call."""
    client: Any = None
    """The client under test; of any version, so without types."""

    def http(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON of a call without any client; for what the client under test has no call for."""
        named = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, named, method=method)
        try:
            with _OPENER.open(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")


Check = Callable[[Given], str | None]
Mode = Callable[[Given], AbstractContextManager[Any]]
"""Makes a client of one kind: the blocking or the asynchronous one."""


class Checks:
    """The checks of one client, in the order in which they are written."""

    def __init__(self, client: str, version: str) -> None:
        self.client = client
        self.version = version
        self._checks: list[tuple[str, str, Check]] = []

    def __call__(self, call: str, *, needs: str = "") -> Callable[[Check], Check]:
        """Add a check under the call that it tries; left out where the client has no such attribute as `needs`."""

        def add(check: Check) -> Check:
            self._checks.append((call, needs, check))
            return check

        return add

    def run(self, arguments: Sequence[str], modes: Mapping[str, Mode]) -> int:
        """Try each check in all modes, at the same time, and print what came of it; how many did not work."""
        url, grpc_host, key = arguments
        failed, out = 0, sys.stdout
        with ExitStack() as stack:
            # Some clients print, too.
            stack.enter_context(redirect_stdout(sys.stderr))
            given = Given(url.rstrip("/"), grpc_host, key, stack.enter_context(Receiver()))
            hands = {name: _Hand(stack, given, make) for name, make in modes.items()}
            for call, needs, check in self._checks:
                if needs and not all(_has(hand.client, needs) for hand in hands.values()):
                    continue
                under_way = {name: hand.start(check) for name, hand in hands.items()}
                outcome = _merged({name: wait() for name, wait in under_way.items()})
                failed += not outcome["works"]
                line = {"client": self.client, "version": self.version, "call": call, **outcome}
                print(json.dumps(line, ensure_ascii=False), file=out, flush=True)
        return failed


def differs(how: str) -> str:
    """What a check returns that is well, but not as with the hosted service."""
    return how


def raises(kind: type[E], call: Callable[[], object]) -> E:
    """The exception of this kind that a call raises."""
    try:
        got = call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}, but {got!r}")


def until(read: Callable[[], T], good: Callable[[T], bool], *, within: float = 60, every: float = 0.1) -> T:
    """Read again and again, as a user's own loop does, until it is as wished."""
    end = time.monotonic() + within
    while not good(found := read()):
        if time.monotonic() > end:
            raise AssertionError(f"still {found!r} after {within} s")
        time.sleep(every)
    return found


def unique(words: str) -> str:
    """A text that begins so and that no other check says, good for a path and a header too."""
    return f"{words}-{uuid4().hex}"


class _Hand:
    """Runs checks with one kind of client, in a thread of its own."""

    def __init__(self, stack: ExitStack, given: Given, make: Mode) -> None:
        self._thread = stack.enter_context(ThreadPoolExecutor(1))
        opened = make(given)
        self.client = self._thread.submit(opened.__enter__).result()
        stack.callback(lambda: self._thread.submit(opened.__exit__, None, None, None).result())
        self._given = replace(given, client=self.client)

    def start(self, check: Check) -> Callable[[], dict[str, Any]]:
        return self._thread.submit(self._try, check).result

    def _try(self, check: Check) -> dict[str, Any]:
        try:
            return {"works": True, "differs": check(self._given), "error": None}
        except Exception as error:  # noqa: BLE001 - every check gets its turn
            return {
                "works": False,
                "differs": None,
                "error": f"{type(error).__name__}: {error} ({_where(check, error)})",
            }


def _where(check: Check, error: Exception) -> str:
    """The last line of the check's own file on the way to an error."""
    file = check.__code__.co_filename
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    return f"line {lines[-1]}" if lines else "elsewhere"


def _merged(outcomes: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """One outcome of those of all modes, which have to agree."""
    first, *others = outcomes.values()
    if all(other == first for other in others) and first["works"]:
        return first
    told = "; ".join(f"{mode}: {one['error'] or one['differs'] or 'works'}" for mode, one in outcomes.items())
    return {"works": False, "differs": None, "error": told}


def _has(client: Any, path: str) -> bool:
    for name in path.split("."):
        if not hasattr(client, name):
            return False
        client = getattr(client, name)
    return True


@contextmanager
def no_client(_: Given) -> Generator[None]:
    """For what is no client but a library that checks bytes."""
    yield None


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main(checks: Checks, **modes: Mode) -> None:
    """What a script ends with."""
    sys.exit(1 if checks.run(sys.argv[1:4], modes or {"": no_client}) else 0)
