"""Where a pending request stands in its queue: counted exactly up to a thousand, estimated beyond."""

from raincheck.core.model import Place
from raincheck.store.sqlite.database import Database, Row

COUNTED = 1_000


def find(database: Database, row: Row) -> Place:
    """The place of the pending request that `row` (queue, priority, tag, seq, tenant) describes."""
    queue, priority, tag, seq, tenant, *_ = row
    counted = database.one(
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
    ahead: int = counted[0] if counted else 0
    exact = ahead <= COUNTED
    if not exact:
        ahead = max(ahead, _estimate(database, queue, priority, tag, tenant))
    measured = database.one("select service, pace, paused_until, pause_reason from queue where name = ?", queue)
    service, pace, paused_until, pause_reason = measured or (None, None, None, None)
    eta = None if service is None or pace is None else int(service + ahead * pace)
    if paused_until is None or paused_until <= database.now():
        return Place(ahead, exact, eta, None)
    return Place(ahead, exact, eta, paused_until, pause_reason)


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
