"""`client.requests`: every request of the tenant by its id, and the deferral of any JSON POST."""

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack, overload

import httpx2
from openai import AsyncOpenAI, OpenAI, RequestOptions
from openai._base_client import AsyncPaginator
from openai.pagination import AsyncCursorPage, SyncCursorPage

from raincheck.client import events
from raincheck.client.cancelling import acancel, cancel
from raincheck.client.dialect import Dialect, request_path
from raincheck.client.downloads import adownload, attachment, download
from raincheck.client.drivers import arun, run
from raincheck.client.errors import UnexpectedAnswer
from raincheck.client.models import Request, RequestDeleted, Status
from raincheck.client.results import whole
from raincheck.client.submitting import DeferOptions, Submission, accepted_natively, plain, submission
from raincheck.client.ticket import AsyncTicket, BlockingWaitOptions, Ticket, WaitOptions
from raincheck.client.twins import share_docs

T = TypeVar("T")


class Filters(TypedDict, total=False):
    """Which requests to list: those that fit all that is given. Times are Unix seconds or datetimes."""

    status: Status | None
    model: str | None
    queue: str | None
    operation: str | None
    metadata: Mapping[str, str] | None
    created_after: float | datetime | None
    created_before: float | datetime | None
    after: str | None
    """The id to go on from."""
    limit: int | None
    """How many to fetch at a time; iterating goes on to the end."""


class _Page:
    """What both kinds of page check: an answer without a list is no empty list."""

    data: Any

    def _get_page_items(self) -> Any:
        if not isinstance(getattr(self, "data", None), list):
            raise UnexpectedAnswer("The answer holds no list of requests. Is this a Raincheck server?")
        return self.data


class _RequestPage(_Page, SyncCursorPage[Request]):
    pass


class _AsyncRequestPage(_Page, AsyncCursorPage[Request]):
    pass


class Requests:
    """All of this needs a Raincheck server, but for `wait` and `result`, which know the plain deferred protocol too."""

    def __init__(self, client: OpenAI) -> None:
        self._client = client

    @overload
    def submit(
        self, path: str, *, body: Mapping[str, object], cast_to: type[T], **options: Unpack[DeferOptions]
    ) -> Ticket[T]: ...
    @overload
    def submit(
        self, path: str, *, body: Mapping[str, object], cast_to: None = None, **options: Unpack[DeferOptions]
    ) -> Ticket[Any]: ...
    def submit(
        self, path: str, *, body: Mapping[str, object], cast_to: Any = None, **options: Unpack[DeferOptions]
    ) -> Ticket[Any]:
        """Defer any JSON POST that an upstream serves: `submit("/embeddings", body={...})`. The path is below the base
        URL. `cast_to` is the type of the result, an openai model or `dict`; without it the operation decides.

        Raises `NoRequestId` when the server is no Raincheck, and has simply done the call.
        """
        call = _generic(body, options)
        response = self._client.post(path, body=call.body, cast_to=httpx2.Response, options={"headers": call.headers})
        return Ticket(self._client, accepted_natively(response), Dialect.RAINCHECK, cast_to)

    def retrieve(self, request_id: str) -> Request:
        """The whole record, result included; one that is too large for the record is fetched beside it. Raises openai's
        NotFoundError for an id that is unknown, or another's."""
        return run(whole(self._client.get(request_path(request_id), cast_to=Request)), self._client)

    def list(self, **filters: Unpack[Filters]) -> SyncCursorPage[Request]:
        """Requests that fit all the filters; iterating fetches page after page, of `limit` each."""
        return self._client.get_api_list("/requests", model=Request, page=_RequestPage, options=_query(filters))

    def cancel(self, request_id: str) -> Request:
        """Cancel it: a pending one is never sent upstream, a running one is aborted. Harmless on one that has ended."""
        return cancel(self._client, request_path(request_id), Request)

    def requeue(self, request_id: str) -> Request:
        """Submit a copy of a request that ended, and return the copy: it has an id of its own."""
        return self._client.post(request_path(request_id, "/requeue"), cast_to=Request, options=_ONCE)

    def delete(self, request_id: str) -> RequestDeleted:
        """Delete an ended request with its payload and result."""
        return self._client.delete(request_path(request_id), cast_to=RequestDeleted)

    @overload
    def result(self, request_id: str, *, cast_to: type[T]) -> T | None: ...
    @overload
    def result(self, request_id: str, *, cast_to: None = None) -> Any: ...
    def result(self, request_id: str, *, cast_to: Any = None) -> Any:
        """The result in openai's types if it is there by now, else None. Raises `RequestFailed`, `RequestCancelled` or
        `RequestExpired` when the request ended without one."""
        return self._ticket(request_id, cast_to).result()

    def download(self, request_id: str, name: str, to: str | PathLike[str] = ".", *, progress: bool = False) -> Path:
        """Fetch one of the request's `attachments` by its name and return where it is: `to`, or in that folder under
        its own name. It appears when it is whole; a connection that breaks is taken up again where it broke."""
        return download(self._client, attachment(request_id, name), Path(to), progress=progress)

    @overload
    def wait(self, request_id: str, *, cast_to: type[T], **patience: Unpack[BlockingWaitOptions]) -> T: ...
    @overload
    def wait(self, request_id: str, *, cast_to: None = None, **patience: Unpack[BlockingWaitOptions]) -> Any: ...
    def wait(self, request_id: str, *, cast_to: Any = None, **patience: Unpack[BlockingWaitOptions]) -> Any:
        """Take up the waiting for a request that was submitted before, here or elsewhere. Returns, takes and raises
        what `Ticket.wait` does: `timeout` (600 s), `polling_interval` (5 s), `progress`, `on_update`,
        `cancel_on_timeout` and `stop_event`."""
        return self._ticket(request_id, cast_to).wait(**patience)

    def events(self, request_id: str) -> Iterator[events.Event]:
        """What happens to the request, as it happens, until its end."""
        return events.follow(self._client, request_id)

    def _ticket(self, request_id: str, cast_to: type[T] | None) -> Ticket[T]:
        return Ticket(self._client, Request(id=request_id), Dialect.UNKNOWN, cast_to)


class AsyncRequests:
    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    @overload
    async def submit(
        self, path: str, *, body: Mapping[str, object], cast_to: type[T], **options: Unpack[DeferOptions]
    ) -> AsyncTicket[T]: ...
    @overload
    async def submit(
        self, path: str, *, body: Mapping[str, object], cast_to: None = None, **options: Unpack[DeferOptions]
    ) -> AsyncTicket[Any]: ...
    async def submit(
        self, path: str, *, body: Mapping[str, object], cast_to: Any = None, **options: Unpack[DeferOptions]
    ) -> AsyncTicket[Any]:
        call = _generic(body, options)
        response = await self._client.post(
            path, body=call.body, cast_to=httpx2.Response, options={"headers": call.headers}
        )
        return AsyncTicket(self._client, accepted_natively(response), Dialect.RAINCHECK, cast_to)

    async def retrieve(self, request_id: str) -> Request:
        return await arun(whole(await self._client.get(request_path(request_id), cast_to=Request)), self._client)

    def list(self, **filters: Unpack[Filters]) -> AsyncPaginator[Request, AsyncCursorPage[Request]]:
        return self._client.get_api_list("/requests", model=Request, page=_AsyncRequestPage, options=_query(filters))

    async def cancel(self, request_id: str) -> Request:
        return await acancel(self._client, request_path(request_id), Request)

    async def requeue(self, request_id: str) -> Request:
        return await self._client.post(request_path(request_id, "/requeue"), cast_to=Request, options=_ONCE)

    async def delete(self, request_id: str) -> RequestDeleted:
        return await self._client.delete(request_path(request_id), cast_to=RequestDeleted)

    @overload
    async def result(self, request_id: str, *, cast_to: type[T]) -> T | None: ...
    @overload
    async def result(self, request_id: str, *, cast_to: None = None) -> Any: ...
    async def result(self, request_id: str, *, cast_to: Any = None) -> Any:
        return await self._ticket(request_id, cast_to).result()

    async def download(
        self, request_id: str, name: str, to: str | PathLike[str] = ".", *, progress: bool = False
    ) -> Path:
        return await adownload(self._client, attachment(request_id, name), Path(to), progress=progress)

    @overload
    async def wait(self, request_id: str, *, cast_to: type[T], **patience: Unpack[WaitOptions]) -> T: ...
    @overload
    async def wait(self, request_id: str, *, cast_to: None = None, **patience: Unpack[WaitOptions]) -> Any: ...
    async def wait(self, request_id: str, *, cast_to: Any = None, **patience: Unpack[WaitOptions]) -> Any:
        return await self._ticket(request_id, cast_to).wait(**patience)

    def events(self, request_id: str) -> AsyncIterator[events.Event]:
        return events.afollow(self._client, request_id)

    def _ticket(self, request_id: str, cast_to: type[T] | None) -> AsyncTicket[T]:
        return AsyncTicket(self._client, Request(id=request_id), Dialect.UNKNOWN, cast_to)


share_docs(Requests, AsyncRequests)


_ONCE: RequestOptions = {"max_retries": 0}
"""A repeated requeue would make a second copy."""


def _generic(body: Mapping[str, object], options: DeferOptions) -> Submission:
    added = submission(options, "respond-async, return=representation")
    return Submission({}, {**body, **added.body}, added.headers)


def _query(filters: Filters) -> RequestOptions:
    return {"params": {name: plain(value) for name, value in filters.items() if value is not None}}
