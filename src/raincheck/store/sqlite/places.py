"""Where a pending request stands in its queue: counted exactly up to a thousand, estimated beyond."""

from raincheck.core.model import Place
from raincheck.core.status import Status
from raincheck.store import rows
from raincheck.store.sqlite.database import Database

COUNTED = 1_000


def find(database: Database, tenant: str, request_id: str) -> Place | None:
    """The place of a pending request, None for one that is not pending. Raises NotFound."""
    row = database.one(
        """select r.status, r.queue, r.priority, r.tag, r.seq, q.service, q.pace, t.paused_until, t.pause_reason,
                  q.held_until, q.held_reason
             from request r
             join queue q on q.name = r.queue
             left join throttle t on t.scope = 'queue' and t.name = r.queue
            where r.id = ? and r.tenant = ?""",
        request_id,
        tenant,
    )
    if row is None:
        raise rows.unknown(request_id)
    status, queue, priority, tag, seq, service, pace, paused_until, pause_reason, held_until, held_reason = row
    if status != Status.PENDING:
        return None
    # A statement of its own: with the bounds as columns of a join, SQLite would seek by the first of them only.
    [(ahead,)] = database.all(
        """select count(*) from (
               select 1 from request
                where queue = ? and status = 'pending' and due_at is null and (priority, tag, seq) < (?, ?, ?)
                limit ?)""",
        queue,
        priority,
        tag,
        seq,
        COUNTED + 1,
    )
    exact = ahead <= COUNTED
    if not exact:
        ahead = max(ahead, _estimate(database, queue, priority, tag, tenant))
    paused = (paused_until or 0) > database.now()
    held = (held_until or 0) > database.now()
    return Place(
        ahead=ahead,
        exact=exact,
        eta=None if service is None else int(service + ahead * pace),
        paused_until=paused_until if paused else None,
        pause_reason=pause_reason if paused else None,
        held_until=held_until if held else None,
        held_reason=held_reason if held else None,
    )


def _estimate(database: Database, queue: str, priority: int, tag: float, tenant: str) -> int:
    """Who is ahead, by the arithmetic of fair queueing: a flow starts `weight` requests per step of the tag."""
    clock = database.one("select virtual_time from lane where queue = ? and priority = ?", queue, priority)
    to_go = tag - (clock[0] if clock else 0)
    ahead = 0.0
    for lane, owner, weight, pending in database.all(
        "select priority, tenant, weight, pending from flow where queue = ? and priority <= ?", queue, priority
    ):
        if lane < priority:
            ahead += pending
        else:
            ahead += max(0.0, min(pending - (owner == tenant), to_go * weight))
    return int(ahead)
