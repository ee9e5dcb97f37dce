"""Forms as they arrive, in whatever pieces, from clients that mean well and from others."""

from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.types import HTTPReceiveMessage, Receive

from raincheck.core.errors import BadInput, NotJson, TooLarge
from raincheck.http.multipart import ALL_FIELDS, LONGEST_FIELD, MOST_PARTS, Field, Form, is_form
from raincheck.http.presence import ClientGone

TYPE = b"multipart/form-data; boundary=b0"
END = b"--b0--\r\n"


def a_field(name: str, value: bytes) -> bytes:
    return f'--b0\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"


def a_file(name: str, body: bytes, filename: str = "a.bin", kind: str = "video/mp4") -> bytes:
    head = (
        f'--b0\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {kind}\r\n\r\n'
    )
    return head.encode() + body + b"\r\n"


def arriving(body: bytes, every: int | None = None, *, then_gone: bool = False) -> Receive:
    """A `receive` that hands the body over in chunks of so many bytes."""
    step = every or max(1, len(body))
    chunks = [body[at : at + step] for at in range(0, len(body), step)] or [b""]

    async def receive() -> HTTPReceiveMessage:
        if not chunks:
            return {"type": "http.disconnect"}
        chunk = chunks.pop(0)
        more = bool(chunks) or then_gone
        return cast("HTTPReceiveMessage", {"type": "http.request", "body": chunk, "more_body": more})

    return receive


async def read(receive: Receive, content_type: bytes = TYPE, **options: int) -> list[tuple[str, object]]:
    """The parts as pairs: a text, or a file's name, kind and bytes."""
    found: list[tuple[str, object]] = []
    async for part in Form(receive, content_type, **options):
        if isinstance(part, Field):
            found.append((part.name, part.value))
        else:
            body = b"".join([piece async for piece in part.pieces])
            found.append((part.name, (part.filename, part.content_type, body)))
    return found


async def test_texts_and_files_come_in_the_order_they_were_sent() -> None:
    body = a_field("prompt", "Wéllen".encode()) + a_file("video", b"\x00\r\n--b\r\n", "w.mp4") + a_field("n", b"") + END

    assert await read(arriving(body)) == [
        ("prompt", "Wéllen"),
        ("video", ("w.mp4", "video/mp4", b"\x00\r\n--b\r\n")),
        ("n", ""),
    ]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=60)), max_size=5), st.integers(1, 40))
async def test_how_a_body_is_cut_changes_nothing(files: list[tuple[str, bytes]], every: int) -> None:
    files = [(name, body.replace(b"--b0", b"")) for name, body in files]
    body = b"".join(a_file(name, content) for name, content in files) + END

    found = await read(arriving(body, every))

    assert found == [(name, ("a.bin", "video/mp4", content)) for name, content in files]


async def test_bracketed_names_are_handed_on_as_they_are() -> None:
    body = a_field("video[id]", b"video_1") + a_field("input_reference[image_url]", b"http://x") + END

    assert await read(arriving(body)) == [("video[id]", "video_1"), ("input_reference[image_url]", "http://x")]


async def test_a_part_without_a_file_name_is_a_file_when_its_kind_says_so() -> None:
    def kind(content_type: str) -> bytes:
        return f'--b0\r\nContent-Disposition: form-data; name="p"\r\nContent-Type: {content_type}\r\n\r\nx\r\n'.encode()

    body = kind("video/mp4") + kind("application/json") + kind("text/plain; charset=utf-8") + END

    assert await read(arriving(body)) == [("p", (None, "video/mp4", b"x")), ("p", "x"), ("p", "x")]


async def test_a_file_that_nobody_reads_is_passed_over() -> None:
    body = a_file("video", b"x" * 1_000) + a_field("after", b"it") + END

    assert [part.name async for part in Form(arriving(body, 100), TYPE)] == ["video", "after"]


async def test_a_file_that_was_read_in_part_is_passed_over_too() -> None:
    names = list[str]()
    async for part in Form(arriving(a_file("video", b"x" * 1_000) + a_field("after", b"it") + END, 100), TYPE):
        names.append(part.name)
        if not isinstance(part, Field):
            assert await anext(part.pieces)

    assert names == ["video", "after"]


async def test_what_stands_before_and_after_the_parts_is_ignored() -> None:
    body = b"preamble\r\n" + a_field("a", b"1") + END + b"epilogue"

    assert await read(arriving(body, 7)) == [("a", "1")]


async def test_no_parts_are_no_parts() -> None:
    assert await read(arriving(END)) == []


BROKEN: dict[str, Callable[[], bytes]] = {
    "nothing at all": lambda: b"",
    "no boundary in it": lambda: b"hello",
    "no end": lambda: a_field("a", b"1"),
    "an end within a file": lambda: a_file("a", b"x" * 100)[:-40],
    "an end within a head": lambda: b"--b0\r\nContent-Dispo",
    "another boundary": lambda: a_field("a", b"1").replace(b"b0", b"b1"),
    "line feeds alone": lambda: a_field("a", b"1").replace(b"\r\n", b"\n") + END,
    "junk after the boundary": lambda: b"--b0junk\r\n" + END,
    "a head without a disposition": lambda: b"--b0\r\nContent-Type: text/plain\r\n\r\nx\r\n" + END,
    "another disposition": lambda: b'--b0\r\nContent-Disposition: attachment; name="a"\r\n\r\nx\r\n' + END,
    "a head that is no header": lambda: b"--b0\r\nhello\r\n\r\nx\r\n" + END,
    "no name": lambda: a_field("", b"1") + END,
    "a name that is too long": lambda: a_field("n" * 201, b"1") + END,
    "a name that is no UTF-8": lambda: b'--b0\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n' + END,
    "a text that is no UTF-8": lambda: a_field("a", b"\xff") + END,
    "a wrong length": lambda: a_field("a", b"1").replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n") + END,
    "an endless header": lambda: b"--b0\r\nX-Long: " + b"x" * 10_000,
    "endless headers": lambda: b"--b0\r\n" + b"X-Many: x\r\n" * 20 + b"\r\n",
    "too many parts": lambda: a_field("a", b"1") * (MOST_PARTS + 1) + END,
    "a huge text": lambda: a_field("a", b"x" * (LONGEST_FIELD + 1)) + END,
    "much text in all": lambda: a_field("a", b"x" * LONGEST_FIELD) * (ALL_FIELDS // LONGEST_FIELD + 1) + END,
}


@pytest.mark.parametrize("every", [None, 5, 60_000])
@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_body_is_told_to_be(name: str, every: int | None) -> None:
    body = BROKEN[name]()
    if every == 5 and len(body) > 20_000:
        every = 4_096

    with pytest.raises(BadInput) as caught:
        await read(arriving(body, every))

    assert caught.value.message.endswith(".")


async def test_the_text_that_is_too_long_is_named_and_not_gathered_first() -> None:
    sent = 0

    async def receive() -> HTTPReceiveMessage:
        nonlocal sent
        sent += 1
        body = a_field("prompt", b"")[:-2] if sent == 1 else b"x" * 60_000
        return cast("HTTPReceiveMessage", {"type": "http.request", "body": body, "more_body": True})

    with pytest.raises(BadInput, match="send what is longer as a file") as caught:
        await read(receive)

    assert caught.value.param == "prompt"
    assert sent < 6


@pytest.mark.parametrize(
    "content_type", [None, b"", b"application/json", b"multipart/mixed; boundary=b0", b"text/plain"]
)
async def test_what_is_no_form_is_refused(content_type: bytes | None) -> None:
    with pytest.raises(NotJson, match="multipart/form-data"):
        Form(arriving(b""), content_type)


@pytest.mark.parametrize(
    "content_type",
    [b"multipart/form-data", b"multipart/form-data; boundary=", b'multipart/form-data; boundary=""']
    + [b"multipart/form-data; boundary=" + boundary for boundary in (b"x" * 201, b"\xff", b'"a\nb"')],
)
async def test_a_form_without_a_usable_boundary_is_refused(content_type: bytes) -> None:
    with pytest.raises(BadInput, match="boundary"):
        Form(arriving(b""), content_type)


@pytest.mark.parametrize(
    "content_type",
    [b'Multipart/Form-Data; charset=utf-8; Boundary="b0"', b"multipart/form-data;boundary=b0;charset=utf-8"],
)
async def test_content_types_are_written_in_many_ways(content_type: bytes) -> None:
    assert is_form(content_type)
    assert await read(arriving(a_field("a", b"1") + END), content_type) == [("a", "1")]


async def test_more_than_the_caller_may_send_is_too_large_at_once() -> None:
    with pytest.raises(TooLarge, match="may send 500 bytes"):
        await read(arriving(a_file("a", b"x" * 10_000) + END, 100), at_most=500)


async def test_a_client_that_hangs_up_is_gone() -> None:
    with pytest.raises(ClientGone):
        await read(arriving(a_file("a", b"x" * 100), 10, then_gone=True))
