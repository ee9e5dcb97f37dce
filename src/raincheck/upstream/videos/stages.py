"""The words that servers have for where a job stands."""

from raincheck.upstream.videos.job import Stage

_DONE = frozenset({"completed", "complete", "done", "succeeded", "success"})
_FAILED = frozenset(
    {"failed", "error", "cancelled", "canceled", "expired", "deleted", "incomplete", "rejected", "aborted"}
)


def stage_of(word: str | None) -> Stage:
    """An unknown word is no end: the job is looked at again."""
    known = (word or "").lower()
    if known in _DONE:
        return Stage.DONE
    return Stage.FAILED if known in _FAILED else Stage.WAITING
