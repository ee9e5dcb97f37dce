"""/v1/responses/{id}: reading one, as it stands or as a stream of its events, and what it was asked."""

from functools import partial

from litestar import get
from litestar.types import ASGIApp

from raincheck.core.errors import BadInput
from raincheck.core.responses import aside
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.edge import Call
from raincheck.http.responses import docs
from raincheck.http.responses.items import page_of
from raincheck.http.responses.showing import answer, checked, members_of, response_id, response_record
from raincheck.http.responses.streaming import ResponseStream
from raincheck.http.waiting import read, wait_of
from raincheck.intake.options import read_limit
from raincheck.intake.responses import streams

TAGS = ["Responses"]
MOST_ITEMS = 100
YES, NO = ("true", "1"), ("false", "0", "")


@get("/v1/responses/{response_id:str}", operation_class=docs.RETRIEVE, tags=TAGS)
async def retrieve_response(request: Call) -> ASGIApp:
    tenant = await caller(request, "read")
    # OpenAI's clients ask for JSON even where they want a stream, so only the query counts.
    asked = request.query_params.get("stream", "")
    if asked not in (*YES, *NO):
        raise BadInput(f"stream must be true or false, not {asked!r}.", param="stream")
    if asked in YES:
        after = _number(request.query_params.get("starting_after"))
        record = await response_record(request, tenant)
        if not streams(await members_of(request, record)):
            raise BadInput(
                f"{record.id} was created without `stream`, so its events were not kept; read it without.",
                param="stream",
            )
        return ResponseStream(request, tenant.name, record.id, after)
    wait = wait_of(request)
    return await answer(request, checked(await read(request, tenant, response_id(request), wait)), wait.applied)


@get("/v1/responses/{response_id:str}/input_items", operation_class=docs.INPUT_ITEMS, tags=TAGS)
async def list_input_items(request: Call) -> Answer:
    tenant = await caller(request, "read")
    record = await response_record(request, tenant)
    params = request.query_params
    order = params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise BadInput(f"order must be asc or desc, not {order!r}.", param="order")
    limit = read_limit(params.get("limit", "20"), MOST_ITEMS)
    given = (await members_of(request, record)).get("input")
    page = partial(page_of, given, record.id, after=params.get("after"), limit=limit, newest=order == "desc")
    return Answer(await aside(memoryview(given or b"").nbytes, page))


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise BadInput(f"starting_after must be the number of an event, not {text!r}.", param="starting_after")
    return int(text)


HANDLERS = (retrieve_response, list_input_items)
