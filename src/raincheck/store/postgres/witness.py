"""After an answer to `commit` was lost: whether it went through.

Each durable commit takes along one row of its own, the number of that commit by that writer, in the same message, so
it costs no round trip. Who asks later writes the same row, and so waits until the commit in doubt is decided and sees
to it that one which has not arrived yet comes too late.
"""

import asyncio
from contextlib import suppress
from secrets import token_hex

from raincheck.core.errors import StoreUnavailable
from raincheck.store.postgres.address import CONNECT_WITHIN, Address
from raincheck.store.postgres.outages import OUTAGES

RESOLVE_WITHIN = 10.0
"""Seconds to find out before the caller is told that nobody knows."""
FORGET = "delete from witness where seen_at < now() - interval '1 day'"


class Witness:
    """The commits of one process. Not more than one commit at a time is counted on one slot."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._process = token_hex(8)
        self._numbers: dict[int, int] = {}
        self._free: list[int] = []

    def take(self) -> int:
        """A slot for one commit."""
        if self._free:
            return self._free.pop()
        self._numbers[len(self._numbers)] = 0
        return len(self._numbers) - 1

    def give_back(self, slot: int) -> None:
        """Let another commit have the slot, once this one's fate is known."""
        self._free.append(slot)

    def commit(self, slot: int) -> str:
        """The next commit of a slot, as one message of two statements. It fails once `committed` has said no to it."""
        self._numbers[slot] += 1
        number = self._numbers[slot]
        return (
            # Nobody else's words are in it, and a message of two statements takes no parameters.
            f"insert into witness (writer, number) values ('{self._process}-{slot}', {number})"  # noqa: S608
            f" on conflict (writer) do update set number = case when witness.number < {number} then {number} end,"
            " seen_at = excluded.seen_at; commit"
        )

    async def committed(self, slot: int) -> bool:
        """Whether the last commit of a slot went through. Raises StoreUnavailable when that cannot be found out."""
        try:
            async with asyncio.timeout(RESOLVE_WITHIN):
                while True:
                    with suppress(*OUTAGES):
                        return await self._decide(slot)
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise StoreUnavailable(
                f"The store {self._address.place} went away while it was writing, and did not come back to say whether"
                " it had written. Look, or send it again with the same Idempotency-Key: that is safe.",
                retry_after=5,
            ) from None

    async def _decide(self, slot: int) -> bool:
        number = self._numbers[slot]
        connection = await self._address.connect(command_timeout=CONNECT_WITHIN)
        try:
            async with connection.transaction():
                # As far as the commit itself was to go: to the standby as well, where one is waited for (G1).
                await connection.execute("set local synchronous_commit = on")
                # Waits for a commit that is under way. One still on its way will find a higher number, and fail.
                found = await connection.fetchval(
                    "insert into witness (writer, number) values ($1, $2::bigint + 1) on conflict (writer) do update"
                    " set number = case when witness.number = $2 then $2 else $2 + 1 end returning number",
                    f"{self._process}-{slot}",
                    number,
                )
        finally:
            connection.terminate()
        if found != number:
            self._numbers[slot] = number + 1
        return found == number
