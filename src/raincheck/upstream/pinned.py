"""A host in, its addresses out, checked: what is connected to is what was checked, and nothing else.

A name is looked up for every new connection, every address that it leads to is checked, and only those are connected
to, so a name that changes its mind afterwards changes nothing. A connection that is kept stays with the address it was
made to.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from threading import Lock, Thread
from time import monotonic

from aiohttp.abc import AbstractResolver, ResolveResult

from raincheck.core.addresses import callable_ones

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""A host and a port in, addresses out; raises `socket.gaierror`, TooManyLookups."""
MOST_LOOKUPS = 512
"""At once, those included that nobody waits for any more; half of them are for hosts that answered last time."""
SHARE = MOST_LOOKUPS // 4
"""How many of either half one asker may have."""
FORGIVEN_AFTER = 5.0
"""Seconds in which a host that could not be looked up is not looked up again."""
_MOST_KNOWN = 4096

asker: ContextVar[str] = ContextVar("asker", default="")
"""For whom names are looked up: nobody's dead ones take the places of others."""


class AddressRefused(Exception):
    """A host leads to an address that must not be called, or nowhere."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} is not on the public internet")
        self.host = host


class TooManyLookups(Exception):
    """So many look-ups are under way that a host was not looked up: no fault of that host."""


class Lookups:
    """Looks hosts up as this machine resolves them, each once at a time.

    Each look-up has a thread of its own. A loop has few for them, and a stranger needs no more than as many names whose
    servers never answer to keep everybody else's connections waiting.
    """

    def __init__(self, most: int = MOST_LOOKUPS, share: int = SHARE) -> None:
        self._most = most
        self._share = share
        self._lock = Lock()
        self._under_way: dict[str, Future[list[str]]] = {}
        self._taken: Counter[tuple[str, bool]] = Counter()
        """Places by asker and by whether the host is known."""
        self._known: dict[str, None] = {}
        """Hosts that answered last time, the latest last."""
        self._failed: dict[str, tuple[float, OSError]] = {}
        """Hosts that did not, and when, the latest last."""

    async def look_up(self, host: str, port: int) -> list[str]:  # noqa: ARG002 - addresses have nothing to do with it
        """The addresses of a host."""
        with self._lock:
            found = self._under_way.get(host) or self._begun(host)
        return await asyncio.wrap_future(found)

    def _begun(self, host: str) -> "Future[list[str]]":
        self._forgive()
        if host in self._failed:
            raise socket.gaierror(*self._failed[host][1].args)
        place = (asker.get(), host in self._known)
        half = sum(taken for (_, known), taken in self._taken.items() if known is place[1])
        if self._taken[place] >= self._share or half >= self._most // 2:
            raise TooManyLookups
        found = Future[list[str]]()
        found.set_running_or_notify_cancel()  # Who gives up on it does so for nobody else.
        # A daemon: nobody who stops the process should have to wait for a name that nobody answers for.
        Thread(target=self._run, args=(host, place, found), name="lookup", daemon=True).start()
        self._taken[place] += 1
        self._under_way[host] = found
        return found

    def _forgive(self) -> None:
        while self._failed:
            host, (since, _) = next(iter(self._failed.items()))
            if since + FORGIVEN_AFTER > monotonic():
                return
            del self._failed[host]

    def _run(self, host: str, place: tuple[str, bool], found: "Future[list[str]]") -> None:
        answer = _answer_of(host)
        with self._lock:
            del self._under_way[host]
            self._taken[place] -= 1
            self._taken += Counter[tuple[str, bool]]()  # without those that have none
            self._known.pop(host, None)
            if isinstance(answer, OSError):
                self._failed[host] = (monotonic(), answer)
            else:
                self._known[host] = None
                if len(self._known) > _MOST_KNOWN:
                    del self._known[next(iter(self._known))]
        if isinstance(answer, OSError):
            found.set_exception(answer)
        else:
            found.set_result(answer)


def _answer_of(host: str) -> list[str] | OSError:
    try:
        everything = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    except ValueError:  # no name at all, as with an empty label or one that is too long
        return socket.gaierror(socket.EAI_NONAME, "no host name")
    return list(dict.fromkeys(str(address[0]) for *_, address in everything))


looked_up = Lookups().look_up
"""Those of the whole process that nobody has a pool of his own for."""


async def checked(host: str, port: int, allowed: Sequence[str], resolve: Resolve = looked_up) -> Sequence[str]:
    """The addresses of a host, all of which may be called. Raises AddressRefused, TooManyLookups,
    `socket.gaierror`."""
    addresses = callable_ones(host, await resolve(host, port), allowed)
    if not addresses:
        raise AddressRefused(host)
    return addresses


class CheckedResolver(AbstractResolver):
    """For aiohttp, without its cache. It does not ask about literal addresses: check those before."""

    def __init__(self, allowed: Sequence[str] = (), resolve: Resolve = looked_up) -> None:
        self._allowed = allowed
        self._resolve = resolve

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002
    ) -> list[ResolveResult]:
        return [_answer(host, address, port) for address in await checked(host, port, self._allowed, self._resolve)]

    async def close(self) -> None:
        """Nothing to let go of."""


def _answer(host: str, address: str, port: int) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=0,
        flags=socket.AI_NUMERICHOST,
    )
