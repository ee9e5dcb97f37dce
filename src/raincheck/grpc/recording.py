"""Takes what a call wants done later (a Submission), hands on its record: every submit over gRPC goes through here."""

from functools import partial

from msgspec import structs

from raincheck.core.errors import ScopeMissing
from raincheck.core.ids import new_uuid
from raincheck.core.model import RESENT_WITHIN, Submitted, Tenant
from raincheck.core.responses import aside
from raincheck.grpc.call import Call
from raincheck.intake.admit import Submission, admit
from raincheck.intake.submit import submit


async def record(
    call: Call, tenant: Tenant, submission: Submission, *, repeat_within: int = RESENT_WITHIN
) -> Submitted:
    """Record a submission under a fresh id, with the options in the call's metadata; a call that the client's gRPC
    library sends again by itself finds the record of the first (G9).

    The model is one that is served. Raises BadInput, ScopeMissing, and what a submit does: in each case nothing is
    recorded.
    """
    edge = call.edge
    submission = structs.replace(submission, options=call.options, client_retry=call.retry, repeat_within=repeat_within)
    if submission.options.include_result and not await may_read(call):
        raise ScopeMissing("include_result tells the result, and this API key may not read.", param="include_result")
    admitted = partial(
        admit,
        submission,
        tenant,
        new_id=new_uuid(),
        max_attempts=edge.settings.max_attempts,
        now=edge.clock(),
        webhook_hosts=edge.settings.webhook_hosts,
    )
    new = await aside(len(submission.payload), admitted)
    return await submit(edge.store.requests, new)


async def may_read(call: Call) -> bool:
    """Whether the caller, let in to write, may see results too."""
    try:
        await call.caller("read")
    except ScopeMissing:
        return False
    return True
