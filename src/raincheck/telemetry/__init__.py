"""Logs and metrics: wraps the seams of store and upstream, so that no room has to speak of itself. Owns all wording.

Ids and times are logged, payloads and keys never; nor what an upstream says of a failure, since upstreams quote their
input: its words are in the record, for whoever may read that. Every event has one name;
docs/reference/telemetry.md lists them.
"""

import asyncio
import sys
from collections.abc import Awaitable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TextIO, TypeVar, assert_never, cast

import structlog

from raincheck.core.batches import Batch, Conclusion, Cursor, LineError, NewRow
from raincheck.core.clock import SECOND, seconds
from raincheck.core.errors import RaincheckError, StoreUnavailable
from raincheck.core.model import Beat, Claimed, Fence, Finish, NewRequest, Offer, Stray, Submitted
from raincheck.core.outcome import Ended, Failure, Released, Reply, RequestError, Retry, Succeeded
from raincheck.core.status import Status
from raincheck.store.blobs import in_short
from raincheck.store.protocol import Batches, Change, Leases, Requests, Store, Upkeep
from raincheck.telemetry.codes import OF_FILES, OUR_CODES
from raincheck.telemetry.metrics import Metrics
from raincheck.telemetry.webhooks import ObservedDeliveries
from raincheck.upstream.catalogue import Member
from raincheck.upstream.protocol import Report, Upstream, Work

log = structlog.stdlib.get_logger("raincheck")

T = TypeVar("T")


def configure_logs(level: str) -> None:
    """One line of `key=value` per event on stderr for people, JSON when stderr is not a terminal."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_for_people() if sys.stderr.isatty() else _for_programs()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Lines(sys.stderr))),
        cache_logger_on_first_use=True,
    )


class _Lines:
    """Where lines are written to, if it can be: a log that fills its disk must not take the server down."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def _for_people() -> list[Any]:
    # The renderer's own choice would print the local variables of each frame, and with them payloads and keys.
    return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]


def _for_programs() -> list[Any]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def started(host: str, port: int, grpc_port: int | None, upstreams: Sequence[str]) -> None:
    """Log that the server takes calls; without a port for gRPC, over HTTP alone."""
    log.info("server.started", host=host, port=port, grpc_port=grpc_port, upstreams=list(upstreams))


def working(worker: str, upstreams: Sequence[str]) -> None:
    """Log that a worker takes requests."""
    log.info("worker.started", worker=worker, upstreams=list(upstreams))


def nobody_works() -> None:
    """Log that what is accepted stays pending."""
    log.warning("server.no_worker")


def stopping(running: int) -> None:
    """Log that the process was asked to stop."""
    log.info("server.stopping", running=running)


def stopped() -> None:
    """Log that the process has stopped."""
    log.info("server.stopped")


def crashed(error: Exception, request_id: str) -> None:
    """Log what nobody expected, under the x-request-id its caller was shown."""
    log.error("call.crashed", x_request_id=request_id, exc_info=error)


def attempt_crashed(error: Exception, request_id: str) -> None:
    """Log that an attempt ended in an error nobody expected; its lease lapses and the request is tried again."""
    log.error("request.crashed", id=request_id, exc_info=error)


def clock_off(lag: int) -> None:
    """Log that this machine's clock is so many microseconds behind the store's."""
    log.warning("clock.off", behind=round(seconds(lag), 3))


def stumbled(error: Exception, loop: str) -> None:
    """Log what nobody expected of one of the server's own loops; it goes on."""
    log.error("server.loop_crashed", loop=loop, exc_info=error)


def stray_left(stray: Stray, why: str) -> None:
    """Log that a remote job nobody wants could not be stopped for a day, and is left alone from now on."""
    log.warning("stray.left", upstream=stray.remote.upstream, remote_id=stray.remote.id, reason=why)


def batch_held_up(error: Exception, batch_id: str) -> None:
    """Log that a batch could not be taken on; it is tried again after a while."""
    if isinstance(error, RaincheckError):
        log.warning("batch.held_up", id=batch_id, code=error.code, reason=error.message)
    else:
        log.error("batch.crashed", id=batch_id, exc_info=error)


def object_store(trouble: StoreUnavailable | None) -> None:
    """Log that the object store takes no bodies, or that it takes them again."""
    if trouble is None:
        log.info("blobs.up")
    else:
        log.warning("blobs.down", reason=in_short(trouble.__cause__ or trouble))


def health(member: Member) -> None:
    """Log that an upstream went down or came back."""
    if member.down_since is None:
        log.info("upstream.up", upstream=member.name)
    else:
        log.warning("upstream.down", upstream=member.name, reason=member.down_reason)


def observe(store: Store, metrics: Metrics) -> Store:
    """The same store, with every transition counted and logged."""
    moves = _Moves(metrics)
    store.changes.listen(moves.hear)
    return replace(
        store,
        requests=_ObservedRequests(store.requests, metrics, moves),
        leases=_ObservedLeases(store.leases, store.upkeep, metrics, moves),
        batches=_ObservedBatches(store.batches, metrics, moves),
        deliveries=ObservedDeliveries(store.deliveries, metrics),
    )


@dataclass(slots=True)
class _Moves:
    """Speaks of the moves that no call asked for: a lease that lapsed, a deadline that passed in the queue. Another
    process speaks of its own."""

    metrics: Metrics
    queues: dict[str, str] = field(default_factory=dict[str, str])
    """The queue of each request that is claimed here."""
    _asked: set[str] = field(default_factory=set[str])
    _log: Any = field(default_factory=log.bind)

    @contextmanager
    def asked(self, ids: Iterable[str]) -> Generator[None]:
        """While it is entered, moves of these requests are the caller's to speak of."""
        ids = list(ids)
        self._asked.update(ids)
        try:
            yield
        except asyncio.CancelledError:
            raise  # It is written all the same, and then heard of.
        except BaseException:
            self._asked.difference_update(ids)
            raise
        self._asked.difference_update(ids)

    def hear(self, change: Change) -> None:
        """Listens to the store, which tells of a change before the call that made it has returned."""
        for request_id, status in change.moved:
            if status is Status.PROCESSING:
                continue
            self.queues.pop(request_id, None)
            if change.elsewhere:
                continue
            if request_id in self._asked:
                self._asked.discard(request_id)
            else:
                self._speak_of(request_id, status)

    def _speak_of(self, request_id: str, status: Status) -> None:
        match status:
            case Status.PENDING:
                self.metrics.lapsed.inc()
                self._log.warning("request.lapsed", id=request_id)
            case Status.EXPIRED | Status.FAILED:
                self._log.warning(f"request.{status}", id=request_id)
            case Status.CANCELLED | Status.COMPLETED | Status.PROCESSING:
                pass
            case _:
                assert_never(status)


class _ObservedRequests:
    """Submits and cancels, spoken of; everything else is passed on."""

    def __init__(self, inner: Requests, metrics: Metrics, moves: _Moves) -> None:
        self._inner = inner
        self._metrics = metrics
        self._moves = moves
        self._log = log.bind()
        self.get, self.place, self.attempts = inner.get, inner.place, inner.attempts
        self.repeated, self.search = inner.repeated, inner.search
        self.result, self.results = inner.result, inner.results
        self.payloads, self.attachments = inner.payloads, inner.attachments

    async def submit(self, batch: Sequence[NewRequest]) -> list[Submitted | RaincheckError]:
        with self._moves.asked(new.id for new in batch):
            answers = await self._inner.submit(batch)
        for new, answer in zip(batch, answers, strict=True):
            if isinstance(answer, RaincheckError):
                self._metrics.refused[answer.code].inc()
                self._log.info("request.refused", tenant=new.tenant, queue=new.queue, code=answer.code)
            elif not answer.repeated:
                self._metrics.submitted[self._metrics.label(new.queue)].inc()
                self._log.debug("request.submitted", id=new.id, tenant=new.tenant, queue=new.queue)
        return answers

    async def cancel(self, tenant: str, request_id: str) -> Any:
        request = await self._inner.cancel(tenant, request_id)
        self._log.info("request.cancelled", id=request_id, tenant=tenant)
        return request

    async def requeue(self, tenant: str, request_id: str, *, new_id: str, max_pending: int | None = None) -> Any:
        with self._moves.asked([new_id]):
            request = await self._inner.requeue(tenant, request_id, new_id=new_id, max_pending=max_pending)
        self._log.info("request.requeued", id=request_id, new_id=new_id, tenant=tenant)
        return request

    async def delete(self, tenant: str, request_id: str) -> None:
        await self._inner.delete(tenant, request_id)
        self._log.info("request.deleted", id=request_id, tenant=tenant)


class _ObservedLeases:
    """Claims and finishes, spoken of, and whether the store can be written; everything else is passed on."""

    def __init__(self, inner: Leases, upkeep: Upkeep, metrics: Metrics, moves: _Moves) -> None:
        self._inner = inner
        self._upkeep = upkeep
        self._metrics = metrics
        self._moves = moves
        self._log = log.bind()
        self._down = False
        self.next_due, self.ready = inner.next_due, inner.ready

    async def claim(self, offers: Sequence[Offer], *, worker: str, lease_for: int) -> Claimed:
        claimed = await self._written(self._inner.claim(offers, worker=worker, lease_for=lease_for))
        for lease in claimed.leases:
            request_id, queue = lease.fence.request_id, self._metrics.label(lease.queue)
            self._moves.queues[request_id] = lease.queue
            self._metrics.claimed[queue].inc()
            if lease.attempt == 1:
                self._metrics.waited[queue].observe((lease.claimed_at - lease.created_at) / SECOND)
            self._log.debug("request.claimed", id=request_id, queue=lease.queue, attempt=lease.attempt)
        return claimed

    async def extend(self, beats: Sequence[Beat], *, lease_for: int) -> set[Fence]:
        return await self._written(self._inner.extend(beats, lease_for=lease_for))

    async def finish(self, finishes: Sequence[Finish]) -> list[Fence]:
        ids = [finish.fence.request_id for finish in finishes]
        queues = [self._moves.queues.get(request_id) for request_id in ids]
        with self._moves.asked(ids):
            lost = await self._written(self._inner.finish(finishes))
        for finish, queue in zip(finishes, queues, strict=True):
            self._speak_of(finish, queue, lost=finish.fence in lost)
        return lost

    async def _written(self, write: Awaitable[T]) -> T:
        """Says once that the store cannot be written, and once that it can be again."""
        try:
            written = await write
        except StoreUnavailable as error:
            if not self._down:
                self._down = True
                self._log.warning("store.down", reason=error.message)
            raise
        if self._down:
            await self._look_again()
        return written

    async def _look_again(self) -> None:
        """What need not be kept, as a claim, can be written before what must be."""
        with suppress(StoreUnavailable):
            await self._upkeep.check()
            if self._down:
                self._down = False
                self._log.info("store.up")

    def _speak_of(self, finish: Finish, queue: str | None, *, lost: bool) -> None:
        said = self._log.bind(id=finish.fence.request_id, upstream=finish.upstream)
        if lost:
            self._metrics.lost.inc()
            said.warning("lease.lost")
            return
        upstream = finish.upstream or "none"
        match finish.outcome:
            case Succeeded():
                self._metrics.attempts[upstream, "succeeded"].inc()
                said.debug("request.completed")
            case Retry(error, _):
                self._metrics.attempts[upstream, "retry"].inc()
                said.warning("request.retried", code=_code(error), upstream_status=_upstream_status(error))
            case Released(reason):
                self._metrics.attempts[upstream, "released"].inc()
                said.info("request.released", code=_code(reason), upstream_status=_upstream_status(reason))
            case Ended(status, error):
                self._metrics.attempts[upstream, str(status)].inc()
                said.warning(f"request.{status}", code=_code(error), upstream_status=_upstream_status(error))
            case _:
                assert_never(finish.outcome)
        if isinstance(finish.outcome, Retry | Released) and finish.outcome.pause is not None:
            self._log.warning("queue.paused", queue=queue, until=seconds(finish.outcome.pause.until))


class _ObservedBatches:
    """What becomes of batches, spoken of, and their lines counted; everything else is passed on."""

    def __init__(self, inner: Batches, metrics: Metrics, moves: _Moves) -> None:
        self._inner = inner
        self._metrics = metrics
        self._moves = moves
        self._log = log.bind()
        self.create, self.get, self.list, self.add = inner.create, inner.get, inner.list, inner.add
        self.parts, self.rows, self.row = inner.parts, inner.rows, inner.row
        self.results, self.ended = inner.results, inner.ended
        self.repeated, self.paces, self.events = inner.repeated, inner.paces, inner.events
        self.claim, self.extend, self.release, self.next_due = inner.claim, inner.extend, inner.release, inner.next_due
        self.rise, self.stop = inner.rise, inner.stop

    async def cancel(self, tenant: str, batch_id: str, *, limit: int) -> Batch:
        before = await self._inner.get(tenant, batch_id)
        batch = await self._inner.cancel(tenant, batch_id, limit=limit)
        if not before.cancelling and not before.status.final:
            self._log.info("batch.cancelling", id=batch_id, tenant=tenant)
        return batch

    async def accept(self, fence: Fence, *, lines: int, queues: Mapping[str, int], model: str | None) -> None:
        await self._inner.accept(fence, lines=lines, queues=queues, model=model)
        self._log.info("batch.accepted", id=fence.request_id, lines=lines, queues=len(queues))

    async def refuse(self, fence: Fence, errors: Sequence[LineError]) -> None:
        await self._inner.refuse(fence, errors)
        codes = sorted({error.code for error in errors})
        self._log.warning("batch.refused", id=fence.request_id, errors=len(errors), codes=codes)

    async def feed(self, fence: Fence, rows: Sequence[NewRow], cursor: Cursor) -> None:
        requests = [row.request for row in rows if row.request is not None]
        with self._moves.asked(new.id for new in requests):
            await self._inner.feed(fence, rows, cursor)
        for new in requests:
            self._metrics.submitted[self._metrics.label(new.queue)].inc()

    async def conclude(self, fence: Fence, conclusion: Conclusion) -> Batch:
        batch = await self._inner.conclude(fence, conclusion)
        counts = batch.counts
        for status in (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.EXPIRED):
            self._metrics.lines[status.value].inc(getattr(counts, status.value))
        self._log.info(
            "batch.ended",
            id=batch.id,
            tenant=batch.tenant,
            status=batch.status.value,
            completed=counts.completed,
            failed=counts.failed,
            cancelled=counts.cancelled,
            expired=counts.expired,
            seconds=seconds((batch.ended_at or batch.created_at) - batch.created_at),
        )
        return batch


def _code(error: RequestError | None) -> str | None:
    """The reason's code when it is one of ours: an upstream, and a function of the user's, may put anything there."""
    if error is None or error.code in OUR_CODES | OF_FILES:
        return error and error.code
    return "upstream_error"


def _upstream_status(error: RequestError | None) -> int | None:
    return error.upstream.status if error is not None and error.upstream is not None else None


class ObservedUpstream:
    """An upstream whose calls are timed; otherwise the one it wraps."""

    def __init__(self, inner: Upstream, metrics: Metrics) -> None:
        self._inner = inner
        self._took = metrics.took.labels(inner.name)
        self.start, self.close, self.probe, self.relay = inner.start, inner.close, inner.probe, inner.relay
        self.abandon, self.takes = inner.abandon, inner.takes

    @property
    def name(self) -> str:
        return self._inner.name

    async def perform(self, work: Work, report: Report) -> Reply | Failure:
        with self._took.time():
            return await self._inner.perform(work, report)
