"""Cancelling by id, harmless whatever has become of the request meanwhile."""

from typing import TypeVar

from openai import AsyncOpenAI, BaseModel, ConflictError, OpenAI

T = TypeVar("T", bound=BaseModel)


def cancel(client: OpenAI, path: str, cast_to: type[T]) -> T:
    """What the server shows at `path` once it is cancelled, or as it had ended before. Raises openai's error."""
    try:
        return client.post(f"{path}/cancel", cast_to=cast_to)
    except ConflictError as error:
        _check(error)
        return client.get(path, cast_to=cast_to)


async def acancel(client: AsyncOpenAI, path: str, cast_to: type[T]) -> T:
    """The same for an async client."""
    try:
        return await client.post(f"{path}/cancel", cast_to=cast_to)
    except ConflictError as error:
        _check(error)
        return await client.get(path, cast_to=cast_to)


def _check(error: ConflictError) -> None:
    """Raise it again unless it only says that there is nothing left to cancel."""
    if error.code != "already_ended":
        raise error
