"""Takes the three calls that are made all the time past Litestar's router, to the handlers the router would find.

Routing, argument parsing and response building cost more than reading a record does; `bench/` shows the difference.
Take this file away and everything still works, slower.
"""

from collections.abc import Awaitable, Callable

from litestar import Request
from litestar.types import ASGIApp, Receive, Scope, Send

from raincheck.http.chat import create_completion
from raincheck.http.deferred import retrieve_deferred
from raincheck.http.edge import Call
from raincheck.http.problems import answer_to
from raincheck.http.requests import retrieve_request

Handler = Callable[[Call], Awaitable[ASGIApp]]

WHOLE: dict[tuple[str, str], Handler] = {("POST", "/v1/chat/completions"): create_completion.fn}
BY_ID: dict[tuple[str, str], Handler] = {
    ("GET", "/v1/requests"): retrieve_request.fn,
    ("GET", "/v1/chat/deferred-completion"): retrieve_deferred.fn,
}


class Shortcut:
    """Wraps the application; what it does not know goes there."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = _find(scope)
        if handler is None:
            await self._app(scope, receive, send)
            return
        call: Call = Request(scope, receive, send)
        try:
            answer = await handler(call)
            await answer(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the last to see it: whatever went wrong is answered here
            await answer_to(call, error)(scope, receive, send)


def _find(scope: Scope) -> Handler | None:
    if scope["type"] != "http":
        return None
    path, method = scope["path"], scope["method"]
    if (handler := WHOLE.get((method, path))) is not None:
        scope["path_params"] = {}
        return handler
    folder, _, last = path.rpartition("/")
    if last and (handler := BY_ID.get((method, folder))) is not None:
        scope["path_params"] = {"request_id": last}
        return handler
    return None
