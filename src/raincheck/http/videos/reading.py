"""Takes a POST that asks for a video, hands on its members (a Sheet), be it JSON or a form."""

from raincheck.core.model import Tenant
from raincheck.http.codec import is_json
from raincheck.http.edge import Call, edge_of
from raincheck.http.multipart import Form
from raincheck.http.posting import read_body
from raincheck.http.videos.forms import read_form
from raincheck.intake.bodies import read_object
from raincheck.intake.gate import check_size
from raincheck.intake.video_members import Sheet, sheet_of


async def read_sheet(call: Call, tenant: Tenant, fresh: list[str]) -> Sheet:
    """Read the body; `fresh` takes the blobs of files that come in it. Raises BadInput, NotJson, TooLarge,
    MediaRefused, ClientGone."""
    content_type = dict(call.scope["headers"]).get(b"content-type")
    if is_json(content_type):
        body = await read_body(call.receive)
        check_size(tenant, len(body))
        return sheet_of(read_object(body))
    form = Form(call.receive, content_type, at_most=tenant.max_body_bytes)
    parts = await read_form(form, edge_of(call).inbox, fresh)
    return sheet_of(parts.members, parts.files, is_form=True)
