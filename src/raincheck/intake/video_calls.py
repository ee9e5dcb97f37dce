"""Takes a call for a video that is at hand, as a line of a batch or a message is, hands on what to record of it."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from raincheck.core.model import Tenant
from raincheck.intake.admit import Submission
from raincheck.intake.batches.calls import VIDEO_URLS, path_of
from raincheck.intake.uploads import Inbox
from raincheck.intake.video_members import Wish, sheet_of, wish_of
from raincheck.intake.videos import check, settle
from raincheck.store.protocol import Requests
from raincheck.upstream.catalogue import Catalogue

OPENAI = VIDEO_URLS[0]
DEFAULT_SECONDS = 4.0
"""What OpenAI's API makes when nothing is said."""


@dataclass(frozen=True, slots=True)
class Videos:
    """See `intake.batches.calls.VideoCalls`."""

    inbox: Inbox
    requests: Requests
    catalogue: Catalogue

    def check(self, url: str, members: Mapping[str, msgspec.Raw]) -> str | None:
        """The model asked for, None when none is named. Raises BadInput; asks nobody."""
        order = _wish(url, members).order
        check(order)
        return order.model

    async def submission(
        self, tenant: Tenant, url: str, members: Mapping[str, msgspec.Raw], fresh: list[str]
    ) -> Submission:
        """What to record; `fresh` takes the blobs this puts into the object store. Raises what `settle` does."""
        wish = _wish(url, members)
        settled = await settle(
            wish.order, tenant.name, fresh, inbox=self.inbox, requests=self.requests, catalogue=self.catalogue
        )
        return wish.submission(settled)


def _wish(url: str, members: Mapping[str, msgspec.Raw]) -> Wish:
    seconds = DEFAULT_SECONDS if url == OPENAI else None
    return wish_of(sheet_of(members), path_of(url), {}, default_seconds=seconds)
