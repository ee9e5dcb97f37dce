"""`xai_api.Files`: the same files as at /v1/files, uploaded and read a piece at a time."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from mimetypes import MimeTypes

from raincheck.core.canonical import Canonical
from raincheck.core.errors import AttachmentGone, BadInput, KeyMissing, Stopping
from raincheck.core.model import File, Tenant
from raincheck.grpc.call import Call
from raincheck.grpc.methods import Message, Method, Methods
from raincheck.grpc.problems import Ended, Problem
from raincheck.grpc.protos import files_pb2
from raincheck.intake.files import fit_type, new_file

MOST = 100
"""Files of a page."""
SHORTEST, LONGEST = 3_600, 2_592_000
"""Seconds after which a file may be told to go, as xAI has it."""
_TYPES = MimeTypes()
"""By a name's ending; the messages do not say what a file is, and this machine's own table shall not decide."""


async def upload_file(call: Call, messages: AsyncIterator[files_pb2.UploadFileChunk]) -> files_pb2.File:
    edge, tenant = call.edge, await _uploader(call)
    if edge.stopping():
        raise Stopping(retry_after=2)
    init = await _init(messages)
    expires_in = init.expires_after if init.HasField("expires_after") else None
    if expires_in is not None and not SHORTEST <= expires_in <= LONGEST:
        raise BadInput(f"expires_after must be from {SHORTEST} to {LONGEST} seconds.", param="expires_after")
    kind = fit_type(_TYPES.guess_type(init.name)[0])
    most = edge.settings.files_max_bytes
    at_most = most if tenant.max_body_bytes is None else min(most, tenant.max_body_bytes)
    kept = await edge.inbox.keep(_data(messages), content_type=kind, at_most=at_most)
    try:
        await _uploader(call)  # Keys are revoked while uploads are under way.
        file = new_file(
            kept,
            tenant=tenant.name,
            filename=init.name,
            content_type=kind,
            expires_in=expires_in,
            now=edge.clock(),
        )
        await edge.store.files.add(file)
    except BaseException:
        await edge.inbox.drop(kept.blob)
        raise
    return _shown(file)


async def list_files(call: Call, message: files_pb2.ListFilesRequest) -> files_pb2.ListFilesResponse:
    tenant = await call.caller("read")
    if not 0 <= message.limit <= MOST:
        raise BadInput(f"limit must be from 1 to {MOST}.", param="limit")
    if message.sort_by != files_pb2.FILES_SORT_BY_CREATED_AT:
        raise BadInput("Files are sorted by created_at alone.", param="sort_by")
    if message.filter:
        raise BadInput("Files cannot be filtered here; leave `filter` out and choose among what comes.", param="filter")
    page = await call.edge.store.files.list(
        tenant.name,
        after=message.pagination_token or None,
        limit=message.limit or MOST,
        newest=message.order == files_pb2.DESCENDING,
    )
    token = page.files[-1].id if page.has_more else None
    return files_pb2.ListFilesResponse(data=[_shown(file) for file in page.files], pagination_token=token)


async def retrieve_file(call: Call, message: files_pb2.RetrieveFileRequest) -> files_pb2.File:
    tenant = await call.caller("read")
    return _shown(await call.edge.store.files.get(tenant.name, message.file_id))


async def delete_file(call: Call, message: files_pb2.DeleteFileRequest) -> files_pb2.DeleteFileResponse:
    tenant = await call.caller("write")
    await call.edge.store.files.delete(tenant.name, message.file_id)
    return files_pb2.DeleteFileResponse(id=message.file_id, deleted=True)


async def retrieve_content(
    call: Call, message: files_pb2.RetrieveFileContentRequest
) -> AsyncGenerator[files_pb2.FileContentChunk]:
    tenant = await call.caller("read")
    if message.format == files_pb2.DOWNLOAD_FORMAT_TEXT:
        raise BadInput("Files are given back as they were uploaded; nothing is turned into text.", param="format")
    file = await call.edge.store.files.get(tenant.name, message.file_id)
    reading = call.edge.desk.read(file.blob, 0, file.size, gone=AttachmentGone())
    async with aclosing(reading) as pieces:
        async for piece in pieces:
            yield files_pb2.FileContentChunk(data=piece)


async def refuse_public_url(call: Call, message: Message) -> Message:
    del message
    await call.caller()
    words = (
        "Raincheck makes no public URLs of files: a link that anyone may follow could not be taken back. Hand out "
        "copies, or let callers with a key read the file."
    )
    raise Ended(Problem(Canonical.UNIMPLEMENTED, words, "unimplemented"))


async def _uploader(call: Call) -> Tenant:
    try:
        return await call.caller("write")
    except KeyMissing:
        raise KeyMissing(
            "No API key came with this upload. With use_insecure_channel=True the xai-sdk leaves it out of uploads: "
            'use api_host="localhost:PORT" (such as through `ssh -L`), serve the gRPC port with TLS (grpc.tls_cert), '
            "or upload to /v1/files over HTTP."
        ) from None


async def _init(messages: AsyncIterator[files_pb2.UploadFileChunk]) -> files_pb2.UploadFileInit:
    async for message in messages:
        if message.HasField("init"):
            return message.init
        break
    raise BadInput("An upload begins with `init`, which names the file; its bytes follow.", param="init")


async def _data(messages: AsyncIterator[files_pb2.UploadFileChunk]) -> AsyncGenerator[bytes]:
    async for message in messages:
        if message.HasField("init"):
            raise BadInput("An upload has one `init`; after it come only bytes.", param="init")
        if message.data:
            yield message.data


def _shown(file: File) -> files_pb2.File:
    shown = files_pb2.File(id=file.id, filename=file.filename, size=file.size)
    shown.created_at.FromMicroseconds(file.created_at)
    if file.expires_at is not None:
        shown.expires_at.FromMicroseconds(file.expires_at)
    return shown


METHODS: Methods = {
    "/xai_api.Files/UploadFile": Method(files_pb2.UploadFileChunk, gather=upload_file),
    "/xai_api.Files/ListFiles": Method(files_pb2.ListFilesRequest, answer=list_files),
    "/xai_api.Files/RetrieveFile": Method(files_pb2.RetrieveFileRequest, answer=retrieve_file),
    "/xai_api.Files/DeleteFile": Method(files_pb2.DeleteFileRequest, answer=delete_file),
    "/xai_api.Files/RetrieveFileContent": Method(files_pb2.RetrieveFileContentRequest, stream=retrieve_content),
    "/xai_api.Files/CreatePublicUrl": Method(files_pb2.CreatePublicUrlRequest, answer=refuse_public_url),
    "/xai_api.Files/RevokePublicUrl": Method(files_pb2.RevokePublicUrlRequest, answer=refuse_public_url),
}
