"""Two drivers for one flow: `run` blocks, `arun` awaits. They make the calls through the openai client, without its
retries, and turn what comes back, errors included, into replies."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import httpx2
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, OpenAI, RequestOptions

from raincheck.client.steps import Call, Flow, Pause, Reply, Step, Stopped, Submit

T = TypeVar("T")
_NEVER_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol")
"""Errors, by their names in each HTTP library that openai works with, before a connection was there."""


def run(flow: Flow[T], client: OpenAI, stop_event: threading.Event | None = None) -> T:
    """Drive a flow to its end in this thread. A set event reaches it as `Stopped` within 0.1 s, in mid-call too."""
    reply: Reply | None = None
    try:
        while True:
            step = flow.send(reply)
            try:
                reply = _take(step, client) if stop_event is None else _take_until(stop_event, step, client)
            except Stopped as stopped:
                flow.throw(stopped)
    except StopIteration as end:
        return end.value
    finally:
        flow.close()


async def arun(flow: Flow[T], client: AsyncOpenAI) -> T:
    """Drive a flow to its end in this task. Cancelling the task ends it at once, in mid-call too."""
    reply: Reply | None = None
    try:
        while True:
            match flow.send(reply):
                case Call() | Submit() as call:
                    reply = await _aexchange(client, call)
                case Pause(seconds):
                    reply = None
                    await asyncio.sleep(seconds)
    except StopIteration as end:
        return end.value
    finally:
        flow.close()


def _take(step: Step, client: OpenAI) -> Reply | None:
    match step:
        case Call() | Submit():
            return _exchange(client, step)
        case Pause(seconds):
            time.sleep(seconds)
            return None


def _take_until(stop_event: threading.Event, step: Step, client: OpenAI) -> Reply | None:
    if stop_event.wait(step.seconds if isinstance(step, Pause) else 0):
        raise Stopped
    return None if isinstance(step, Pause) else _abandonable(client, step, stop_event)


def _exchange(client: OpenAI, call: Call | Submit) -> Reply:
    try:
        if isinstance(call, Submit):
            return _reply(client.post(call.path, body=call.body, cast_to=httpx2.Response, options=_options(call)))
        send = client.get if call.method == "GET" else client.post
        return _reply(send(call.path, cast_to=httpx2.Response, options=_options(call)))
    except (APIStatusError, APIConnectionError) as error:
        return _failure(error)


async def _aexchange(client: AsyncOpenAI, call: Call | Submit) -> Reply:
    try:
        if isinstance(call, Submit):
            return _reply(await client.post(call.path, body=call.body, cast_to=httpx2.Response, options=_options(call)))
        send = client.get if call.method == "GET" else client.post
        return _reply(await send(call.path, cast_to=httpx2.Response, options=_options(call)))
    except (APIStatusError, APIConnectionError) as error:
        return _failure(error)


def _abandonable(client: OpenAI, call: Call | Submit, stop_event: threading.Event) -> Reply:
    """Make the call in a thread of its own, so that a stop need not wait for the server.

    A call left behind ends by itself when its timeout is over; it holds up neither the caller nor the interpreter.
    """
    answers: list[Callable[[], Reply]] = []
    answered = threading.Event()

    def exchange() -> None:
        try:
            reply = _exchange(client, call)
            answers.append(lambda: reply)
        except Exception as error:  # noqa: BLE001 - handed to the waiting thread, which raises it
            answers.append(_raiser(error))
        finally:
            answered.set()

    threading.Thread(target=exchange, name="raincheck-wait", daemon=True).start()
    while not answered.wait(0.1):
        if stop_event.is_set():
            raise Stopped
    return answers[0]()


def _raiser(error: Exception) -> Callable[[], Reply]:
    def fail() -> Reply:
        raise error

    return fail


def _options(call: Call | Submit) -> RequestOptions:
    options: RequestOptions = {"params": call.query, "timeout": call.timeout, "max_retries": 0}
    if isinstance(call, Submit):
        options["headers"] = call.headers
    return options


def _reply(response: httpx2.Response) -> Reply:
    return Reply(response.status_code, _headers(response), response.content)


def _failure(error: APIStatusError | APIConnectionError) -> Reply:
    if isinstance(error, APIConnectionError):
        return Reply(0, error=error, lost=type(error.__cause__).__name__ not in _NEVER_SENT)
    return Reply(error.status_code, _headers(error.response), error.response.content, error)


def _headers(response: httpx2.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}
