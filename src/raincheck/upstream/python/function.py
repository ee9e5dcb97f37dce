"""A user's function: finds it by its name, calls it with a payload, hands on what comes of it."""

import importlib
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec

from raincheck.core.errors import SettingsInvalid
from raincheck.upstream.python.files import Returned, written
from raincheck.upstream.python.job import Job
from raincheck.upstream.python.steps import drained, drained_async

_Steps = Generator[Any, None, Any]
_AsyncSteps = AsyncGenerator[Any, None]


@dataclass(frozen=True, slots=True)
class Function:
    """A function that takes a payload and perhaps a job."""

    call: Callable[..., Any]
    takes_job: bool

    @property
    def is_async(self) -> bool:
        return any(
            inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each)
            for each in (self.call, type(self.call).__call__)
        )

    def run(self, payload: bytes, job: Job) -> Returned:
        job.raise_if_cancelled()
        value = self._begin(payload, job)
        if isinstance(value, Generator):
            value = drained(cast("_Steps", value), job)
        return written(value, lambda: job.folder)

    async def run_async(self, payload: bytes, job: Job) -> Returned:
        begun = self._begin(payload, job)
        if isinstance(begun, AsyncGenerator):
            value = await drained_async(cast("_AsyncSteps", begun), job)
        else:
            value = await begun
        return written(value, lambda: job.folder)

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
