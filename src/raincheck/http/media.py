"""What requests made and were given, to whoever has a key; and by links, to whoever has one."""

from litestar import get

from raincheck.core.clock import SECOND
from raincheck.core.errors import AttachmentGone, NotFound
from raincheck.core.model import Attachment
from raincheck.http import file_docs
from raincheck.http.auth import caller
from raincheck.http.edge import Call, Edge, edge_of
from raincheck.http.guard import ANY_PAGE
from raincheck.http.stored import Headers, StoredAnswer, file_answer


@get("/v1/requests/{request_id:str}/attachments/{name:str}", operation_class=file_docs.ATTACHMENT, tags=["Requests"])
async def retrieve_attachment(request: Call) -> StoredAnswer:
    tenant = await caller(request, "read")
    edge, named = edge_of(request), request.scope["path_params"]
    return attachment_answer(edge, await edge.desk.file(tenant.name, named["request_id"], named["name"]))


@get("/media/{token:str}/{name:str}", operation_class=file_docs.MEDIA, tags=["Files"], security=[{}])
async def follow_link(request: Call) -> StoredAnswer:
    edge, given = edge_of(request), request.scope["path_params"]
    now = edge.clock()
    named = edge.links.read(given["token"], given["name"], now)
    try:
        attachment = await edge.desk.file(named.tenant, named.request_id, named.name)
    except NotFound:
        raise AttachmentGone("The file behind this link was deleted with its request.") from None
    told = (
        # Whoever has the link may show and read it, on any page, for as long as it holds.
        ("cache-control", f"private, max-age={(named.until - now) // SECOND}"),
        *ANY_PAGE,
        ("referrer-policy", "no-referrer"),
    )
    return attachment_answer(edge, attachment, told)


def attachment_answer(edge: Edge, attachment: Attachment, headers: Headers = ()) -> StoredAnswer:
    """A file of a request."""
    return file_answer(
        edge.desk,
        blob=attachment.blob,
        size=attachment.size,
        digest=attachment.digest,
        content_type=attachment.content_type,
        filename=attachment.name,
        headers=headers,
    )


HANDLERS = (retrieve_attachment, follow_link)
