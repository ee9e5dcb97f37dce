"""Takes how far a reader is in a list of xAI's dialect, hands on the token that says so; and the way back."""

import re

from raincheck.core.batches import BatchPage, Cursor
from raincheck.core.errors import BadInput

Mark = int | Cursor
"""Behind a line that was fed or has ended; or where in what was handed in."""

_TOKEN = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,12})\.([0-9]{1,12}))?")


def page_token(found: BatchPage) -> str | None:
    """What to go on with after some of a tenant's batches."""
    return found.batches[-1].id if found.batches and found.has_more else None


def read_token(text: str | None) -> Mark:
    """Where a page of lines begins. Raises BadInput for what was never a token."""
    if not text:
        return 0
    if (found := _TOKEN.fullmatch(text)) is None:
        raise BadInput("pagination_token must be the one of the page before.", param="pagination_token")
    return int(found[1]) if found[2] is None else Cursor(int(found[1]), int(found[2]), int(found[3]))


def write_token(mark: Mark) -> str:
    return ".".join(str(each) for each in mark) if isinstance(mark, Cursor) else str(mark)
