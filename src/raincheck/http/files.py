"""/v1/files: what callers upload, to be named in requests; as OpenAI's API has it, and xAI's below /xai."""

from collections.abc import Mapping

import msgspec
from litestar import delete, get, post

from raincheck.core.clock import SECOND
from raincheck.core.errors import BadInput, Stopping
from raincheck.core.model import File, Tenant
from raincheck.http import file_docs
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.digests import ContentDigest, check_digest
from raincheck.http.edge import Call, Edge, edge_of
from raincheck.http.multipart import Field, Form, Upload
from raincheck.http.stored import StoredAnswer, file_answer
from raincheck.intake.files import fit_type, lasts_wrong, new_file
from raincheck.intake.options import read_after, read_limit
from raincheck.intake.uploads import Kept

TAGS = ["Files"]
MOST = 10_000
SORTED_BY = ("created_at", "")


@post(["/v1/files", "/xai/v1/files"], operation_class=file_docs.UPLOAD, status_code=200, tags=TAGS)
async def create_file(request: Call) -> Answer:
    tenant = await caller(request, "write")
    edge = edge_of(request)
    if edge.stopping():
        raise Stopping(retry_after=2)
    file = await _taken(request, edge, tenant)
    try:
        await edge.store.files.add(file)
    except Exception:
        await edge.inbox.drop(file.blob)
        raise
    return Answer(msgspec.json.encode(_shown(file)))


@get(["/v1/files", "/xai/v1/files"], operation_class=file_docs.LIST, tags=TAGS)
async def list_files(request: Call) -> Answer:
    tenant = await caller(request, "read")
    params = request.query_params
    order = {"ascending": "asc", "descending": "desc"}.get(said := params.get("order", "desc").lower(), said)
    if order not in ("asc", "desc"):
        raise BadInput(f"order must be asc or desc, not {order!r}.", param="order")
    if params.get("sort_by", "created_at") not in SORTED_BY:
        raise BadInput("Files are sorted by created_at alone.", param="sort_by")
    xai = request.scope["path"].startswith("/xai/")
    page = await edge_of(request).store.files.list(
        tenant.name,
        purpose=params.get("purpose"),
        after=read_after(params) or params.get("pagination_token") or None,
        limit=read_limit(params.get("limit", str(MOST)), MOST),
        newest=order == "desc",
    )
    first, last = (page.files[0].id, page.files[-1].id) if page.files else (None, None)
    shown = [_shown(file) for file in page.files]
    body = {"object": "list", "data": shown, "first_id": first, "last_id": last, "has_more": page.has_more}
    # xAI's clients page by a token, which is null at the end.
    token = {"pagination_token": last if page.has_more else None} if xai else {}
    return Answer(msgspec.json.encode(body | token))


@get(["/v1/files/{file_id:str}", "/xai/v1/files/{file_id:str}"], operation_class=file_docs.RETRIEVE, tags=TAGS)
async def retrieve_file(request: Call) -> Answer:
    return Answer(msgspec.json.encode(_shown(await _file(request))))


@delete(
    ["/v1/files/{file_id:str}", "/xai/v1/files/{file_id:str}"],
    operation_class=file_docs.DELETE,
    status_code=200,
    tags=TAGS,
)
async def delete_file(request: Call) -> Answer:
    tenant = await caller(request, "write")
    await edge_of(request).store.files.delete(tenant.name, _id(request))
    return Answer(msgspec.json.encode({"id": _id(request), "object": "file", "deleted": True}))


@get(
    ["/v1/files/{file_id:str}/content", "/xai/v1/files/{file_id:str}/content"],
    operation_class=file_docs.CONTENT,
    tags=TAGS,
)
async def retrieve_content(request: Call) -> StoredAnswer:
    file = await _file(request)
    return file_answer(
        edge_of(request).desk,
        blob=file.blob,
        size=file.size,
        digest=file.digest,
        content_type=file.content_type,
        filename=file.filename,
    )


HANDLERS = (create_file, list_files, retrieve_file, delete_file, retrieve_content)


async def _taken(call: Call, edge: Edge, tenant: Tenant) -> File:
    """The file in a form, its body in the object store. What stands around it may come before or after it."""
    texts: dict[str, str] = {}
    given: tuple[Upload, Kept] | None = None
    headers = dict(call.scope["headers"])
    digest = ContentDigest(call.receive, headers.get(b"content-digest"))
    at_most = edge.settings.files_max_bytes
    try:
        async for part in Form(digest.receive, headers.get(b"content-type"), at_most=tenant.max_body_bytes):
            if isinstance(part, Field):
                texts[part.name] = part.value
            elif part.name != "file" or given is not None:
                raise BadInput("Send one file a time, in the part named `file`.", param=part.name)
            else:
                kept = await edge.inbox.keep(part.pieces, content_type=fit_type(part.content_type), at_most=at_most)
                given = part, kept
        if given is None:
            raise BadInput("The form has no file; send one in the part named `file`.", param="file")
        digest.check()
        check_digest(texts.get("sha256"), given[1].digest, param="sha256")
        return _record(*given, texts, tenant.name, edge.clock())
    except Exception:
        if given is not None:
            await edge.inbox.drop(given[1].blob)
        raise


def _record(part: Upload, kept: Kept, texts: Mapping[str, str], tenant: str, now: int) -> File:
    return new_file(
        kept,
        tenant=tenant,
        filename=part.filename,
        purpose=texts.get("purpose"),
        content_type=part.content_type,
        expires_in=_seconds(texts),
        now=now,
    )


def _seconds(texts: Mapping[str, str]) -> int | None:
    if texts.get("expires_after[anchor]", "created_at") != "created_at":
        raise BadInput("expires_after[anchor] must be created_at.", param="expires_after[anchor]")
    if (text := texts.get("expires_after[seconds]")) is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 12):
        raise lasts_wrong("expires_after[seconds]")
    return int(text)


def _shown(file: File) -> dict[str, object]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": file.created_at // SECOND,
        "expires_at": None if file.expires_at is None else file.expires_at // SECOND,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
        "sha256": file.digest,
    }


async def _file(call: Call) -> File:
    tenant = await caller(call, "read")
    return await edge_of(call).store.files.get(tenant.name, _id(call))


def _id(call: Call) -> str:
    return call.scope["path_params"]["file_id"]
