"""What an upstream's answer says about the upstream: the tokens it used, and whether it has more than it can do."""

import msgspec

from raincheck.core.outcome import Failure, FailureKind, Reply

_CONGESTED = frozenset({429, 503, 529})


def tokens(answer: Reply | Failure | None) -> int | None:
    """What a call used, prompt and answer, by the answer's `usage` in any of the shapes that are common; None when it
    does not say."""
    if not isinstance(answer, Reply) or answer.usage is None:
        return None
    try:
        usage = msgspec.json.decode(answer.usage, type=_Usage)
    except (msgspec.DecodeError, RecursionError):
        return None
    if usage.total_tokens is not None:
        used = usage.total_tokens
    elif usage.prompt_tokens is not None or usage.completion_tokens is not None:
        used = (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
    elif usage.input_tokens is not None or usage.output_tokens is not None:
        used = (usage.input_tokens or 0) + (usage.output_tokens or 0)
    else:
        return None
    return used if 0 <= used < 1 << 53 else None


def congested(answer: Reply | Failure | None) -> bool:
    """True when the upstream said that it is too busy, or said nothing for too long."""
    if not isinstance(answer, Failure):
        return False
    match answer.kind:
        case FailureKind.BUSY:
            return True
        case FailureKind.TRANSIENT:
            error = answer.error
            status = error.upstream and error.upstream.status
            # A stream that began and was then broken off for a limit has no status of its own, only words.
            return status in _CONGESTED or error.code == "upstream_timeout" or error.type == "rate_limit_error"
        case FailureKind.REJECTED | FailureKind.UNREACHABLE:
            return False


class _Usage(msgspec.Struct):
    total_tokens: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
