"""Files: uploaded, listed, read and forgotten."""

import tempfile
from io import BytesIO
from pathlib import Path

import grpc

from tests.clients.checks import Given, differs, unique
from tests.clients.xai_client import CHECKS
from tests.clients.xai_client.asking import refused

LARGE = 7 << 20
"""Bytes: more than two of the pieces in which the SDK uploads."""


@CHECKS("files.upload (bytes)")
def bytes_are_uploaded(given: Given) -> None:
    file = given.client.files.upload(b"hello", filename="notes.txt")
    assert (file.filename, file.size) == ("notes.txt", 5)
    assert file.id


@CHECKS("files.upload (a path, on_progress)")
def a_large_one_is_uploaded_in_pieces(given: Given) -> None:
    told: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.bin"
        path.write_bytes(bytes(LARGE))

        def progress(sent: int, total: int) -> None:
            assert total == LARGE
            told.append(sent)

        file = given.client.files.upload(str(path), on_progress=progress)
    assert (file.filename, file.size, told[-1], len(told)) == ("large.bin", LARGE, LARGE, 3)
    assert given.client.files.content(file.id) == bytes(LARGE)


@CHECKS("files.upload (expires_after)")
def expires(given: Given) -> None:
    file = given.client.files.upload(BytesIO(b"soon gone"), filename="a.txt", expires_after=3600)
    assert file.expires_at.seconds - file.created_at.seconds == 3600


@CHECKS("files.batch_upload")
def several_are_uploaded(given: Given) -> None:
    streams = [BytesIO(b"a"), BytesIO(b"bb")]
    for number, stream in enumerate(streams):
        stream.name = f"{number}.txt"
    uploaded = given.client.files.batch_upload(streams)
    assert {number: file.size for number, file in uploaded.items()} == {0: 1, 1: 2}


@CHECKS("files.get")
def is_retrieved(given: Given) -> None:
    file = given.client.files.upload(b"hello", filename="notes.txt")
    assert given.client.files.get(file.id) == file


@CHECKS("files.content")
def is_read(given: Given) -> None:
    file = given.client.files.upload(b"\x00binary\xff", filename="raw.bin")
    assert given.client.files.content(file.id) == b"\x00binary\xff"


@CHECKS("files.list")
def are_listed_by_page(given: Given) -> None:
    ids = [given.client.files.upload(b"x", filename=unique("f")).id for _ in range(3)]
    found: list[str] = []
    token = None
    while True:
        page = given.client.files.list(limit=2, order="desc", sort_by="created_at", pagination_token=token)
        found += [file.id for file in page.data]
        if not (token := page.pagination_token):
            break
    assert [each for each in found if each in ids] == ids[::-1]


@CHECKS("files.list (filter)")
def a_filter_is_refused(given: Given) -> str:
    refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: given.client.files.list(filter='name = "x"'))
    return differs("INVALID_ARGUMENT: there are no filter expressions")


@CHECKS("files.list (sort_by)")
def files_are_sorted_by_time_alone(given: Given) -> str:
    for other in ("filename", "size"):
        refused(grpc.StatusCode.INVALID_ARGUMENT, lambda other=other: given.client.files.list(sort_by=other))
    assert given.client.files.list(sort_by="created_at") is not None
    return differs("INVALID_ARGUMENT for other than `created_at`")


@CHECKS("files.delete")
def is_deleted(given: Given) -> None:
    file = given.client.files.upload(b"hello", filename="notes.txt")
    deleted = given.client.files.delete(file.id)
    assert (deleted.id, deleted.deleted) == (file.id, True)
    refused(grpc.StatusCode.NOT_FOUND, lambda: given.client.files.get(file.id))


@CHECKS("files.create_public_url, files.revoke_public_url", needs="files.create_public_url")
def nothing_is_public(given: Given) -> str:
    file = given.client.files.upload(b"hello", filename="notes.txt")
    for call in (given.client.files.create_public_url, given.client.files.revoke_public_url):
        refused(grpc.StatusCode.UNIMPLEMENTED, lambda call=call: call(file.id))
    return differs("UNIMPLEMENTED: files have no public URLs; what a request made has a link for a while")
