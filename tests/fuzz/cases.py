"""What is sent: beside what schemathesis makes up, bodies that are nearly right, and no call that holds for long."""

import contextlib
import re
from typing import Any, cast

import schemathesis
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from schemathesis import BaseSchema

LONGEST_WAIT = 0.1
"""Seconds."""
_LONG = re.compile(r"wait=[1-9][0-9.e+]*")
CHAT = {"model": "smollm2-135m", "messages": [{"role": "user", "content": "Hello"}]}
LINE = (
    b'{"custom_id":"row-%d","method":"POST","url":"/v1/chat/completions",'
    b'"body":{"model":"smollm2-135m","messages":[{"role":"user","content":"Hello"}]}}\n'
)
FILES: tuple[dict[str, Any], ...] = (
    {"file": LINE % 1 + LINE % 2, "purpose": "batch"},
    {"file": LINE % 1 + b"not JSON\n", "purpose": "batch"},
    {"file": b"some bytes", "purpose": "user_data"},
)
VIDEOS: tuple[dict[str, Any], ...] = (
    {"prompt": "A rocket", "model": "preview", "seconds": "4"},
    {"prompt": "A rocket", "image": b"no picture"},
    {"prompt": "A rocket", "video[id]": "video_1", "metadata": "{"},
)
MORE: dict[str, tuple[Any, ...]] = {
    "/v1/chat/completions": (CHAT, CHAT | {"stream": True}),
    "/xai/v1/chat/completions": (CHAT, CHAT | {"stream": True}),
    "/v1/responses": (
        {"model": "smollm2-135m", "input": "Hello", "background": True, "stream": True},
        {"model": "smollm2-135m", "input": "Hello", "stream": True},
        {"model": "smollm2-135m", "input": "Hello"},
    ),
    "/v1/batches": ({"name": "nightly"},),
}
"""Bodies beside the document's example."""
OPTIONS = {
    "Raincheck-Metadata": ("{}", '{"team":"blue"}', '{"team":1}', "no"),
    "Raincheck-Expires-In": ("60", "0", "-1", "1e400", "NaN"),
    "Raincheck-Not-Before": ("0", "9e99", "2026-01-01T00:00:00Z", "2026-01-01"),
    "Raincheck-Max-Attempts": ("1", "0", "1.5", "9" * 30),
    "Raincheck-Webhook-Events": ('["completed"]', "completed", "[]"),
    "Raincheck-Include-Result": ("true", "maybe"),
    "Prefer": ("respond-async", "return=representation", "respond-async, wait=0.05", "wait=-1", "wait=NaN", ";;"),
    "Content-Digest": ("sha-256=:AAAA:", "sha-256=?"),
    "x-stainless-retry-count": ("1", "x"),
}
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_ANYTHING = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


def deep(levels: int) -> Any:
    """A list in a list in a list."""
    body: Any = []
    for _ in range(levels):
        body = [body]
    return body


NASTY: tuple[Any, ...] = (
    *("\0", "\ud800", "a" * 70_000, "1e999", "../../etc", "{", "http://[", "data:,", "file_", "https://user@:0/"),
    *(10**400, -(2**63) - 1, 2**64, 1e308, -0.0),
    *(deep(400), {"": None}, {"url": "\0"}, {"\ud800": 1}, [None] * 300),
)
JUNK = _ANYTHING | st.sampled_from(NASTY)


def shape(schema: BaseSchema) -> None:
    """Tell schemathesis how to make bodies and calls."""

    @schema.hook  # pyright: ignore[reportUnknownMemberType]
    def flatmap_case(context: Any, case: Any) -> SearchStrategy[Any]:  # pyright: ignore[reportUnusedFunction]
        return better(case, context.operation.definition.raw)

    @schemathesis.hook  # pyright: ignore[reportUnknownMemberType]
    def before_call(context: Any, case: Any, kwargs: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        hurry(case)


def better(case: Any, described: dict[str, Any]) -> SearchStrategy[Any]:
    """The case as it is, or with a body that is right or nearly so, and with options in its headers."""
    if "requestBody" not in described:
        return st.just(case)
    if case.media_type == "multipart/form-data":
        bodies = st.sampled_from(FILES if case.path.endswith("/files") else VIDEOS)
    else:
        [example] = described["requestBody"]["content"]["application/json"]["examples"].values()
        right = st.sampled_from((example["value"], example["value"], *MORE.get(case.path, ())))
        bodies = mostly(right, right.flatmap(nearly))
    some = st.sampled_from(sorted(OPTIONS)).flatmap(
        lambda name: st.sampled_from(OPTIONS[name]).map(lambda value: {name: value})
    )
    headers = mostly(st.just({}), some)

    def with_body(drawn: tuple[Any, dict[str, str]]) -> Any:
        case.body = drawn[0]
        case.headers.update(drawn[1])
        return case

    return mostly(st.tuples(bodies, headers).map(with_body), st.just(case))


def mostly(right: SearchStrategy[Any], *others: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """What is right at least half of the time: what follows a link would lead nowhere without."""
    return st.sampled_from([right] * len(others) + list(others)).flatmap(lambda chosen: chosen)


def nearly(body: Any) -> SearchStrategy[Any]:
    """The body as it is, or with something wrong at one place of it, however deep."""
    match body:
        case dict() if body:
            members = cast("dict[str, Any]", body)
            wrong = st.sampled_from(sorted(members)).flatmap(lambda name: _wrong_at(members, name))
            return st.just(members) | wrong
        case list() if body:
            items = cast("list[Any]", body)
            return st.just(items) | st.just([]) | nearly(items[0]).map(lambda item: [item, *items[1:]])
        case _:
            return st.just(body) | JUNK


def _wrong_at(members: dict[str, Any], name: str) -> SearchStrategy[Any]:
    without = {key: value for key, value in members.items() if key != name}
    return st.just(without) | nearly(members[name]).map(lambda value: members | {name: value})


def hurry(case: Any) -> None:
    """A call may ask to be held for a minute, which is not what the time is for."""
    query: dict[str, Any] = case.query or {}
    with contextlib.suppress(KeyError, TypeError, ValueError):
        if float(query["wait"]) > LONGEST_WAIT:
            query["wait"] = LONGEST_WAIT
    headers: Any = case.headers or {}
    if "Prefer" in headers:
        headers["Prefer"] = _LONG.sub(f"wait={LONGEST_WAIT}", str(headers["Prefer"]))
