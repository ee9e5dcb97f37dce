"""A user's function: finds it by its name, calls it with a payload, writes what it returns as JSON."""

import importlib
import inspect
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from raincheck.core.errors import SettingsInvalid
from raincheck.upstream.python.job import Job


@dataclass(frozen=True, slots=True)
class Returned:
    """What a function returned, as JSON, with its `usage` member."""

    body: bytes
    usage: bytes | None


class Unwritable(Exception):
    """What a function returned cannot be passed on as JSON."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function that takes a payload and perhaps a job."""

    call: Callable[..., Any]
    takes_job: bool

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.call) or inspect.iscoroutinefunction(type(self.call).__call__)

    def run(self, payload: bytes, job: Job) -> Returned:
        job.raise_if_cancelled()
        return _written(self._begin(payload, job))

    async def run_async(self, payload: bytes, job: Job) -> Returned:
        coroutine: Coroutine[Any, Any, Any] = self._begin(payload, job)
        return _written(await coroutine)

    def _begin(self, payload: bytes, job: Job) -> Any:
        decoded = msgspec.json.decode(payload)
        return self.call(decoded, job) if self.takes_job else self.call(decoded)


def load(handler: str) -> Function:
    """The function that `module:function` names, looked for in the working folder first.

    Raises SettingsInvalid, naming both, when it is not there or cannot be called.
    """
    module_name, _, attribute = handler.partition(":")
    if not module_name or not attribute:
        raise SettingsInvalid(f"The handler {handler!r} must be given as module:function.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise SettingsInvalid(f"The handler {handler!r}: no module {missing!r} in {here} or installed.") from error
        raise SettingsInvalid(f"The handler {handler!r}: its module imports {missing!r}, not installed.") from error
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        raise SettingsInvalid(f"The handler {handler!r}: importing {module_name!r} failed with {words}.") from error
    try:
        for name in attribute.split("."):
            found = getattr(found, name)
    except AttributeError as error:
        raise SettingsInvalid(f"The handler {handler!r}: module {module_name!r} has no {attribute!r}.") from error
    return Function(found, _takes_job(found, handler))


def _takes_job(function: Any, handler: str) -> bool:
    if not callable(function):
        raise SettingsInvalid(f"The handler {handler!r} is no function but {type(function).__name__}.")
    try:
        signature = inspect.signature(function)
    except ValueError:  # some built-in functions tell nothing about themselves
        return False
    for arguments in ((None, None), (None,)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return len(arguments) == 2
    raise SettingsInvalid(f"The handler {handler!r} must take (payload) or (payload, job), not {signature}.")


_NULL = msgspec.Raw(b"null")


class _Head(msgspec.Struct):
    usage: msgspec.Raw = _NULL


def _written(value: Any) -> Returned:
    try:
        match value:
            case bytes() | bytearray():
                body = bytes(value)
                msgspec.json.decode(body)
            case str():
                body = value.encode()
                msgspec.json.decode(body)
            case _:
                body = msgspec.json.encode(value)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        kind = type(value).__name__
        raise Unwritable(f"What the handler returned ({kind}) is no JSON: {error}") from error
    try:
        usage = msgspec.json.decode(body, type=_Head).usage
    except msgspec.ValidationError:  # no object
        usage = _NULL
    return Returned(body, None if usage == _NULL else bytes(usage))
