"""What can be wrong with a webhook.

ValueError
└── WebhookError
    ├── MissingHeader           one of the three headers is not there
    ├── BadTimestamp            its timestamp is no whole number of seconds
    ├── TooOld                  it was sent too long ago: held up, replayed, or a clock is wrong
    ├── TooNew                  it was sent in the future: a clock is wrong
    ├── WrongSignature          no signature fits: another secret, or a changed body
    │   ├── WrongSecret         … it was made with a secret that was not given
    │   └── TamperedBody        … it was made with a secret that was given, over something else
    ├── BadSecret               what was given is no secret (a fault of this side, as is the next)
    ├── CryptographyMissing     a `whpk_` key needs a package (also an ImportError)
    ├── BadPayload              it is authentic, and no event
    └── Replayed                it is authentic, and was handled before

Answer 400 to what is not authentic, 2xx to what was handled before, and 5xx to faults of your own: what is not answered
with a 2xx is sent again.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raincheck.webhooks.event import Event


class WebhookError(ValueError):
    """Everything `verify` raises about a delivery. No message repeats a secret or a body."""


class MissingHeader(WebhookError):
    """One of `webhook-id`, `webhook-timestamp` and `webhook-signature` is not there, or empty. `.name` is which."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The header {name} is missing. Either this is no webhook, or a proxy or framework dropped it: give all "
            "the headers of the request."
        )
        self.name = name


class BadTimestamp(WebhookError):
    """The header `webhook-timestamp` is no whole number of Unix seconds."""

    def __init__(self) -> None:
        super().__init__("The header webhook-timestamp is no whole number of seconds, as in 1790000000.")


class _WrongTime(WebhookError):
    """`.seconds` is by how much the delivery's time is off, `.tolerance` by how much it may be."""

    def __init__(self, message: str, seconds: float, tolerance: float) -> None:
        super().__init__(message)
        self.seconds = seconds
        self.tolerance = tolerance


class TooOld(_WrongTime):
    """It was sent longer ago than is tolerated; a genuine retry has a fresh timestamp. `.seconds` says how long ago,
    `.tolerance` how long is allowed."""

    def __init__(self, seconds: float, tolerance: float) -> None:
        super().__init__(
            f"The webhook was sent {seconds:.0f} s ago by its timestamp, and {tolerance:g} s are allowed. It was held "
            "up on its way, is an old one sent again by somebody else, or the clock here is fast or the sender's slow: "
            "compare `date -u` on both machines.",
            seconds,
            tolerance,
        )


class TooNew(_WrongTime):
    """It was sent in the future. `.seconds` says by how much, `.tolerance` how much is allowed."""

    def __init__(self, seconds: float, tolerance: float) -> None:
        super().__init__(
            f"The webhook was sent {seconds:.0f} s in the future by its timestamp, and {tolerance:g} s are allowed. "
            "The clock here is slow or the sender's fast: compare `date -u` on both machines.",
            seconds,
            tolerance,
        )


class WrongSignature(WebhookError):
    """None of its signatures was made with a secret that was given, over this body.

    A signature alone cannot tell another secret from a changed body. Raincheck says in a header of its own which keys
    it signed with, so that for its deliveries this is `WrongSecret` or `TamperedBody`; that header is not signed and
    chooses these words only, never what is accepted.
    """

    def __init__(self, hint: str = "") -> None:
        super().__init__(
            "No signature of the webhook fits. Either the secret is not the one it was signed with, or what was "
            "signed was changed on its way: give the body byte for byte as it came, before any parsing." + hint
        )


class WrongSecret(WrongSignature):
    """It was signed with other secrets than those that were given."""

    def __init__(self) -> None:
        WebhookError.__init__(
            self,
            "The webhook was signed with a secret that was not given. Every endpoint has its own, and a webhook_url is "
            "signed for with the tenant's (`raincheck webhooks secret`); it may also have been rotated.",
        )


class TamperedBody(WrongSignature):
    """The secret is right, but the body, the id or the timestamp is not what was signed."""

    def __init__(self) -> None:
        WebhookError.__init__(
            self,
            "The secret is right, but the body, the id or the timestamp of the webhook is not what was signed. Give "
            "the body byte for byte as it came: JSON that was parsed and written again is another body. If it is, "
            "somebody changed it on its way.",
        )


class BadSecret(WebhookError):
    """What was given as a secret is none."""


class CryptographyMissing(WebhookError, ImportError):
    """Verifying with a `whpk_` key takes the package `cryptography`."""

    def __init__(self) -> None:
        super().__init__("Verifying with a whpk_ key (v1a, Ed25519) needs a package: pip install cryptography")


class BadPayload(WebhookError):
    """The delivery is authentic, but its body is no event."""


class Replayed(WebhookError):
    """The event was handled before: answer 2xx and do nothing. `.event` is what it says, `.id` the id it came under."""

    def __init__(self, event: "Event") -> None:
        super().__init__(f"The event {event.id} ({event.type}) was handled before.")
        self.event = event
        self.id = event.id
