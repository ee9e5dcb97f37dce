"""Takes a call's body as it comes off the wire, hands it on within bounds of size and time."""

import asyncio
from typing import cast

from litestar.types import HTTPReceiveMessage, Message, Receive, Send

from raincheck.core.errors import BodyTooSlow, TooLarge

LINGER_BYTES = 64 << 20
LINGER_SECONDS = 5.0
SMALL = 64 << 10
"""What is left of a body this small is not worth closing the connection for."""


class Body:
    """The body of one call: `receive` reads it, `linger` sees to the end of a call that did not read it all."""

    def __init__(
        self, receive: Receive, announced: int | None, limit: int, seconds: float, *, pace: int | None = None
    ) -> None:
        """`seconds`: for all of it. With a `pace`, those are what it may be silent for, and then it must have come at
        so many bytes a second: a large body takes long, and that is no fault."""
        self.announced = announced
        """Its Content-Length, None when it comes in chunks of no announced sum."""
        self.limit = limit
        """The bytes that are accepted."""
        self._receive = receive
        self._seconds = seconds
        self._pace = pace
        self._until = asyncio.get_running_loop().time() + seconds
        self._size = 0
        self._whole = False
        self._given_up = False

    async def receive(self) -> HTTPReceiveMessage:
        """The next piece. Raises TooLarge, BodyTooSlow. After the last piece, waits for the client to hang up."""
        if self._whole:
            return cast("HTTPReceiveMessage", await self._receive())
        message = await self._receive_in_time()
        if message["type"] == "http.request":
            self._size += len(message["body"])
            self._whole = not message["more_body"]
            if self._size > self.limit:
                raise TooLarge(f"The request body has more than {self.limit} bytes, which is all that is accepted.")
        return message

    async def _receive_in_time(self) -> HTTPReceiveMessage:
        # What asyncio.timeout_at does, in half the time: this is on the way of every submit.
        reader = asyncio.current_task()
        assert reader is not None  # noqa: S101
        loop = asyncio.get_running_loop()
        until = self._until
        if self._pace is not None:
            until = min(until + self._size / self._pace, loop.time() + self._seconds)
        timer = loop.call_at(until, self._give_up, reader)
        try:
            return cast("HTTPReceiveMessage", await self._receive())
        except asyncio.CancelledError:
            if not self._given_up or reader.uncancel() > 0:
                raise
            raise BodyTooSlow from None
        finally:
            timer.cancel()

    def _give_up(self, reader: "asyncio.Task[object]") -> None:
        self._given_up = True
        reader.cancel()

    def linger(self, send: Send) -> Send:
        """A `send` that, when the body was not read to its end, closes the connection, but not at once.

        Closing a socket with unread bytes in it makes the other side lose the answer that explains why.
        """

        async def lingering(message: Message) -> None:
            small = self.announced is not None and self.announced <= SMALL
            if self._whole or (small and not self._given_up):
                await send(message)
            elif message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
                await send(message)
            elif message["type"] == "http.response.body" and not message["more_body"] and not self._given_up:
                await send({**message, "more_body": True})
                await self._drain()
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await send(message)

        return lingering

    async def _drain(self) -> None:
        left = LINGER_BYTES
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while left > 0:
                    message = await self._receive()
                    if message["type"] != "http.request" or not message["more_body"]:
                        return
                    left -= len(message["body"])
        except TimeoutError:
            return
