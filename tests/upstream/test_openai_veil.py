"""Our key in an upstream's answer: hidden, wherever it is cut in two."""

from collections.abc import AsyncGenerator, Sequence

import pytest

from raincheck.upstream.openai.veil import Veil

KEY = b"sk-secret-sk-secret"
BODY = b"you sent Bearer " + KEY + KEY + b" and sk-sec"
HIDDEN = b"you sent Bearer ****** and sk-sec"


async def veiled(pieces: Sequence[bytes]) -> list[bytes]:
    async def come() -> AsyncGenerator[bytes]:
        for piece in pieces:
            yield piece

    return [piece async for piece in Veil(KEY).over(come())]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 19, 20, 100])
async def test_a_key_is_hidden_however_the_body_is_cut(size: int) -> None:
    pieces = [BODY[at : at + size] for at in range(0, len(BODY), size)]
    assert b"".join(await veiled(pieces)) == HIDDEN


async def test_what_cannot_be_the_keys_beginning_goes_on_at_once() -> None:
    assert await veiled([b"data: s", b"o\n\n", b"data: ks\n\n"]) == [b"data: ", b"so\n\n", b"data: ks\n\n"]
