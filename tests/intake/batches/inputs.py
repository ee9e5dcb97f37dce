"""What tests of batch input are made of: lines, bodies that hold them, and an edge that knows videos."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import msgspec

from raincheck.core.batches import Body
from raincheck.core.clock import now
from raincheck.core.errors import BadInput
from raincheck.core.model import Tenant
from raincheck.intake.admit import Submission
from raincheck.intake.batches.line import Lines
from raincheck.store.blobs import BlobStore, open_blobs
from raincheck.upstream.catalogue import Catalogue, Member
from tests.dispatch.engine import Scripted

CHAT = "/v1/chat/completions"
MIB = 1 << 20


def a_call(model: str = "small", **members: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "Hi."}]} | members


def a_line(custom_id: object = "one", **members: object) -> bytes:
    """A line of a chat, without its break; members that are given as `...` are left out."""
    line = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": a_call()} | members
    return msgspec.json.encode({name: value for name, value in line.items() if value is not ...})


def some_lines(count: int) -> bytes:
    return b"".join(a_line(f"request-{number}") + b"\n" for number in range(1, count + 1))


def inline(text: bytes) -> Body:
    """A body that stands in the record."""
    return Body(size=len(text), digest=sha256(text).hexdigest(), text=text)


def objects_at(folder: Path) -> BlobStore:
    return open_blobs(f"file://{folder}/objects")


async def stored(objects: BlobStore, text: bytes, name: str = "input") -> Body:
    """A body in the object store."""
    await objects.put(name, text)
    return Body(size=len(text), digest=sha256(text).hexdigest(), blob=name)


def written(folder: Path, pieces: Iterable[bytes], name: str = "input") -> Body:
    """A body in the object store at `folder` that is too large to be made in memory."""
    digest, size = sha256(), 0
    with (folder / "objects" / name).open("wb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    return Body(size=size, digest=digest.hexdigest(), blob=name)


class Videos:
    """An edge that asks of a video's call that it has a prompt."""

    def check(self, url: str, members: Mapping[str, msgspec.Raw]) -> str | None:
        if "prompt" not in members:
            raise BadInput("`prompt` is missing.", param="prompt")
        return msgspec.json.decode(members["model"], type=str) if "model" in members else None

    async def submission(
        self, tenant: Tenant, url: str, members: Mapping[str, msgspec.Raw], fresh: list[str]
    ) -> Submission:
        raise AssertionError("nothing is fed here")


async def a_catalogue() -> Catalogue:
    """It serves `small` and `other`, and names that begin with `made-`."""
    catalogue = Catalogue([Member(Scripted("listing")), Member(Scripted("patterns"), ["made-*"])], now)
    await catalogue.refresh()
    return catalogue


async def lines_of(endpoint: str | None = CHAT, *, xai: bool = False) -> Lines:
    return Lines(endpoint=endpoint, xai=xai, videos=Videos(), catalogue=await a_catalogue())
