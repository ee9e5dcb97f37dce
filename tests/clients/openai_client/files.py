"""Files: uploaded, listed, read and forgotten."""

from io import BytesIO
from typing import Any

import openai

from tests.clients.checks import Given, raises, unique
from tests.clients.openai_client import CHECKS


def upload(given: Given, data: bytes = b"hello", name: str = "notes.txt", purpose: str = "user_data") -> Any:
    return given.client.files.create(file=(name, BytesIO(data)), purpose=purpose)


@CHECKS("files.create")
def is_uploaded(given: Given) -> None:
    file = upload(given)
    assert (file.object, file.bytes, file.filename, file.purpose) == ("file", 5, "notes.txt", "user_data")
    assert (file.status, file.id.startswith("file-")) == ("processed", True)


@CHECKS("files.create (expires_after)")
def expires(given: Given) -> None:
    file = given.client.files.create(
        file=("a.txt", b"a"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert file.expires_at == file.created_at + 3600


@CHECKS("files.retrieve")
def is_retrieved(given: Given) -> None:
    file = upload(given)
    assert given.client.files.retrieve(file.id) == file


@CHECKS("files.content")
def is_read(given: Given) -> None:
    content = given.client.files.content(upload(given, b"\x00binary\xff").id)
    assert content.content == b"\x00binary\xff"


@CHECKS("files.list")
def are_listed_by_page(given: Given) -> None:
    ids = [upload(given, name=unique("f")).id for _ in range(3)]
    listed = [file.id for file in given.client.files.list(purpose="user_data", limit=2)]
    assert [file for file in listed if file in ids] == ids[::-1]
    after = given.client.files.list(purpose="user_data", order="asc", after=ids[0])
    assert [file.id for file in after if file.id in ids] == ids[1:]


@CHECKS("files.wait_for_processing")
def is_ready_at_once(given: Given) -> None:
    assert given.client.files.wait_for_processing(upload(given).id).status == "processed"


@CHECKS("files.delete")
def is_deleted(given: Given) -> None:
    file = upload(given)
    assert given.client.files.delete(file.id).deleted is True
    raises(openai.NotFoundError, lambda: given.client.files.retrieve(file.id))


@CHECKS("uploads.create")
def has_no_parts(given: Given) -> str:
    create = given.client.uploads.create
    refused = raises(
        openai.APIStatusError, lambda: create(bytes=1, filename="a", mime_type="text/plain", purpose="batch")
    )
    assert refused.status_code in {400, 404}, refused
    return "refused: a file is uploaded whole, by `files.create`"
