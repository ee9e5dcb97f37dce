"""How receivers of webhooks are doing, and the deliveries that wait for a place at one."""

from raincheck.core.webhooks import Receiver
from raincheck.store.sqlite.database import Transaction

FRESH = Receiver()


def find_receiver(tx: Transaction, name: str) -> Receiver:
    """What is known of a receiver; nothing, when nothing was ever sent there."""
    row = tx.one("select failures, failing_since, open_until, places, slow from receiver where name = ?", name)
    return FRESH if row is None else Receiver(*row[:4], slow=bool(row[4]))


def write_receiver(tx: Transaction, name: str, receiver: Receiver) -> None:
    tx.run(
        """insert into receiver (name, failures, failing_since, open_until, places, slow, used_at)
           values (?, ?, ?, ?, ?, ?, ?)
           on conflict do update
              set failures = excluded.failures, failing_since = excluded.failing_since,
                  open_until = excluded.open_until, places = excluded.places, slow = excluded.slow,
                  used_at = excluded.used_at""",
        (
            *(name, receiver.failures, receiver.failing_since, receiver.open_until, receiver.places),
            *(receiver.slow, tx.now),
        ),
    )


def being_sent(tx: Transaction, name: str) -> int:
    """How many deliveries a receiver has just now, without those whose lease has lapsed."""
    # Left to itself, the planner walks through all that a receiver ever got.
    [(count,)] = tx.all(
        """select count(*) from delivery indexed by delivery_sent
            where receiver = ? and worker is not null and due_at > ?""",
        name,
        tx.now,
    )
    return count


def one_waits(tx: Transaction, name: str, until: int) -> bool:
    """Whether one of a receiver's deliveries is due by then, so that the others can go on with it."""
    row = tx.one(
        """select 1 from delivery indexed by delivery_waiting
            where receiver = ? and worker is null and due_at > ? and due_at <= ? limit 1""",
        *(name, tx.now, until),
    )
    return row is not None


def let_go(tx: Transaction, name: str, count: int, *, due_at: int) -> None:
    """Make up to `count` parked deliveries of a receiver due, the oldest first. One too many does no harm: it is parked
    again."""
    if count <= 0:
        return
    tx.run(
        """update delivery set due_at = ?
            where seq in (select seq from delivery indexed by delivery_parked
                           where receiver = ? and status = 'pending' and due_at is null order by seq limit ?)""",
        (due_at, name, count),
    )
    if due_at <= tx.now:
        tx.deliveries = True


def let_others_go(tx: Transaction, name: str, receiver: Receiver) -> None:
    """As many parked ones as have room; while it is left alone, one for the end of that, unless another will see to
    it."""
    at_work = being_sent(tx, name)
    if not receiver.is_open(tx.now) or receiver.open_until is None:
        let_go(tx, name, receiver.room - at_work, due_at=tx.now)
    elif at_work == 0 and not one_waits(tx, name, receiver.open_until):
        let_go(tx, name, 1, due_at=receiver.open_until)


def let_off(tx: Transaction, name: str) -> None:
    """Leave a receiver alone no longer."""
    tx.run("update receiver set open_until = null where name = ? and open_until is not null", (name,))


def take_back(tx: Transaction, name: str) -> None:
    """Have what is being sent to a receiver sent again: how that goes is not heard."""
    tx.run(
        """update delivery indexed by delivery_sent set worker = null, fence = fence + 1, due_at = ?
            where receiver = ? and worker is not null""",
        (tx.now, name),
    )


def start_afresh(tx: Transaction, name: str) -> None:
    """Forget a receiver's failures, and let what waited for it go on; each that arrives lets others go."""
    before = find_receiver(tx, name)
    tx.run("delete from receiver where name = ?", (name,))
    if before.open_until is not None:
        tx.run(
            """update delivery indexed by delivery_waiting set due_at = ?
                where receiver = ? and worker is null and due_at = ?""",
            (tx.now, name, before.open_until),
        )
    tx.deliveries = True
    let_go(tx, name, FRESH.places, due_at=tx.now)


def forget_delivery(tx: Transaction, seq: int) -> None:
    """Let go of a delivery and its log."""
    tx.run("delete from delivery_attempt where delivery_seq = ?", (seq,))
    tx.run("delete from delivery where seq = ?", (seq,))
