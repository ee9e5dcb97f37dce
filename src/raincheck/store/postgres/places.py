"""Where a pending request stands in its queue: counted exactly up to a thousand, estimated beyond."""

from raincheck.core.model import Place
from raincheck.core.status import Status
from raincheck.store import rows
from raincheck.store.postgres.database import Database

COUNTED = 1_000


async def find(database: Database, tenant: str, request_id: str) -> Place | None:
    """The place of a pending request, None for one that is not pending. Raises NotFound."""
    row = await database.one(
        """select r.status, r.queue, r.priority, r.tag, q.service, q.pace, t.paused_until, t.pause_reason,
                  q.held_until, q.held_reason, moment($3) as now,
                  (select count(*) from (
                      select 1 from request before
                       where before.queue = r.queue and before.status = 'pending' and before.due_at is null
                         and (before.priority, before.tag, before.seq) < (r.priority, r.tag, r.seq)
                       limit case when r.status = 'pending' then $4::integer else 0 end) counted) as ahead
             from request r
             left join lateral (select * from queue where name = r.queue limit 1) q on true
             left join lateral (select * from throttle where scope = 'queue' and name = r.queue limit 1) t on true
            where r.id = $1 and (r.tenant = $2) is true""",
        request_id,
        tenant,
        database.at,
        COUNTED + 1,
    )
    if row is None:
        raise rows.unknown(request_id)
    if row["status"] != Status.PENDING:
        return None
    ahead, service, now = row["ahead"], row["service"], row["now"]
    exact = ahead <= COUNTED
    if not exact:
        ahead = max(ahead, await _estimate(database, row["queue"], row["priority"], row["tag"], tenant))
    paused = (row["paused_until"] or 0) > now
    held = (row["held_until"] or 0) > now
    return Place(
        ahead=ahead,
        exact=exact,
        eta=None if service is None else int(service + ahead * row["pace"]),
        paused_until=row["paused_until"] if paused else None,
        pause_reason=row["pause_reason"] if paused else None,
        held_until=row["held_until"] if held else None,
        held_reason=row["held_reason"] if held else None,
    )


async def _estimate(database: Database, queue: str, priority: int, tag: float, tenant: str) -> int:
    """Who is ahead, by the arithmetic of fair queueing: a flow starts `weight` requests per step of the tag."""
    row = await database.one(
        """select sum(case when f.priority < $2 then f.pending
                           else greatest(0, least(f.pending - (f.tenant = $4)::integer,
                                                  ($3 - coalesce(l.virtual_time, 0)) * f.weight)) end)
             from flow f left join lane l on l.queue = f.queue and l.priority = $2
            where f.queue = $1 and f.priority <= $2""",
        queue,
        priority,
        tag,
        tenant,
    )
    return int(row[0] or 0) if row else 0
