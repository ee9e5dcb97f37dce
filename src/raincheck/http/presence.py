"""Takes work done for a client who waits, and drops it when the client hangs up."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from litestar.types import Receive

T = TypeVar("T")


class ClientGone(Exception):
    """The client hung up; there is nobody to answer."""


async def while_present(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The work's result. Raises ClientGone, with the work cancelled, when the client hangs up first."""
    me = cast("asyncio.Task[Any]", asyncio.current_task())
    before, gone, over = me.cancelling(), False, False

    def hung_up(leaving: "asyncio.Task[None]") -> None:
        nonlocal gone
        if leaving.cancelled():
            return
        leaving.exception()  # Whatever went wrong in listening: nobody is there any more.
        if not over:
            gone = True
            me.cancel()

    # One task only: the work is awaited right here, and it is this task that is cancelled when the client leaves.
    leaving = asyncio.create_task(_until_gone(receive))
    leaving.add_done_callback(hung_up)
    try:
        result = await work
    except asyncio.CancelledError:
        # Ours is taken back; one that someone else asked for as well goes on its way.
        if not gone or me.uncancel() > before:
            raise
        raise ClientGone from None
    except Exception as error:
        if not gone:
            raise
        me.uncancel()
        raise ClientGone from error
    finally:
        over = True
        leaving.cancel()
    if gone:  # The work ended in spite of its cancellation.
        me.uncancel()
        raise ClientGone
    return result


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
