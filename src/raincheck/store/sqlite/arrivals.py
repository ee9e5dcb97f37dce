"""Where new requests get in line: the tags that make queues fair."""

from typing import NamedTuple

from raincheck.core.model import NewRequest
from raincheck.store.sqlite.database import Transaction


class Flow(NamedTuple):
    """A tenant's share of a queue's lane."""

    queue: str
    priority: int
    tenant: str
    weight: float


def flow_of(new: NewRequest) -> Flow:
    return Flow(new.queue, int(new.priority), new.tenant, new.weight)


def next_tags(tx: Transaction, flow: Flow, count: int = 1) -> list[float]:
    """The tags of the next `count` requests of a flow, which counts them as pending.

    Start-time fair queueing: a flow's next tag is one share after its last, and never behind the lane's clock.
    """
    share = 1 / flow.weight
    [(last, pending)] = tx.all(
        """insert into flow (queue, priority, tenant, last_tag, weight, pending)
           values (?1, ?2, ?3, coalesce((select virtual_time from lane where queue = ?1 and priority = ?2), 0) + ?5,
                   ?4, ?6)
           on conflict do update
              set last_tag = max(last_tag + ?5, excluded.last_tag), weight = ?4, pending = pending + ?6
           returning last_tag, pending""",
        *flow,
        count * share,
        count,
    )
    if pending == count:
        # While anything is pending in a queue it is not forgotten, so it can be missing only now.
        tx.run("insert or ignore into queue (name) values (?)", (flow.queue,))
    return [last - behind * share for behind in range(count - 1, -1, -1)]
