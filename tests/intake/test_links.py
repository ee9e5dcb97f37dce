"""Links to files: who made them, what they lead to, and when they end."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest

from raincheck.core.clock import HOUR, SECOND
from raincheck.core.errors import AttachmentGone, NotFound
from raincheck.intake.links import Links

NOW = 1_790_000_000 * SECOND
LINKS = Links(b"s" * 32, HOUR)


def parts(path: str) -> tuple[str, str]:
    _, folder, token, name = path.split("/")
    assert folder == "media"
    return token, name


def test_a_link_leads_to_what_was_signed() -> None:
    token, name = parts(LINKS.sign("t", "req_1", "video.mp4", NOW))

    named = LINKS.read(token, name, NOW + HOUR - SECOND)

    assert named == ("t", "req_1", "video.mp4", NOW + HOUR)
    assert len(token) < 100


def test_another_process_with_the_same_secret_reads_it_and_one_with_another_does_not() -> None:
    token, name = parts(LINKS.sign("t", "req_1", "video.mp4", NOW))

    assert Links(b"s" * 32, SECOND).read(token, name, NOW).request_id == "req_1"
    with pytest.raises(NotFound):
        Links(b"z" * 32, HOUR).read(token, name, NOW)


def test_a_link_ends_with_advice() -> None:
    token, name = parts(LINKS.sign("t", "req_1", "video.mp4", NOW))

    with pytest.raises(AttachmentGone, match="expired; read the request again"):
        LINKS.read(token, name, NOW + HOUR)


def test_g8_a_link_says_nothing_else_than_what_was_signed() -> None:
    """Any other bit, name or spelling of it is unknown."""
    token, name = parts(LINKS.sign("t", "req_1", "video.mp4", NOW))
    raw = urlsafe_b64decode(token + "==")
    bent = [raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :] for at in range(len(raw))]
    tokens = [urlsafe_b64encode(each).rstrip(b"=").decode() for each in bent]
    tokens += ["", "x", "!", token[:-1], token + "A", token + "=", token + "==", token + "\n", "é" * 40, token[:30]]

    for forged in tokens:
        with pytest.raises(NotFound):
            LINKS.read(forged, name, NOW)
    for other in ("thumbnail.webp", "video.mp4\0", "", "../video.mp4", "\ud800"):
        with pytest.raises(NotFound):
            LINKS.read(token, other, NOW)


def test_tenant_and_request_cannot_be_shifted_into_each_other() -> None:
    assert LINKS.sign("a", "b_c", "v", NOW) != LINKS.sign("a_b", "c", "v", NOW)
    token, name = parts(LINKS.sign("org\0dept", "req_1", "v", NOW))

    assert LINKS.read(token, name, NOW)[:2] == ("org\0dept", "req_1")


def test_a_name_that_no_path_may_have_is_written_as_one() -> None:
    path = LINKS.sign("t", "req_1", "Ein Bild/ä?.png", NOW)

    assert path.count("/") == 3
    assert LINKS.own(f"https://any.example{path}", NOW) == ("t", "req_1", "Ein Bild/ä?.png", NOW + HOUR)


@pytest.mark.parametrize("base", ["", "http://127.0.0.1:8421", "https://videos.example/rain", "http://169.254.169.254"])
def test_our_own_link_is_known_by_its_signature_whatever_host_it_names(base: str) -> None:
    named = LINKS.own(base + LINKS.sign("t", "req_1", "video.mp4", NOW) + "?download=1#t=3", NOW)

    assert named is not None
    assert named.request_id == "req_1"


def test_our_own_link_that_is_over_is_not_taken_for_another_server_s() -> None:
    with pytest.raises(AttachmentGone):
        LINKS.own("http://x" + LINKS.sign("t", "req_1", "video.mp4", NOW), NOW + HOUR)


@pytest.mark.parametrize(
    "url",
    ["", "x", "http://x/media/abc/video.mp4", "http://x/media", "http://[::1", "file:///media/a/b", "http://x/media//"],
)
def test_any_other_url_is_none_of_ours(url: str) -> None:
    assert LINKS.own(url, NOW) is None
