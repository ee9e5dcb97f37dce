import pytest

from raincheck.client.steps import Reply

DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": "inf"}, 0),
        ({"retry-after": "soon"}, 0),
        ({}, 0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": DATE}, 30),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT", "date": DATE}, 0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, 0),
    ],
)
def test_retry_after_is_seconds_however_it_is_written(headers: dict[str, str], seconds: float) -> None:
    assert Reply(503, headers).retry_after == seconds


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"<html>", b"\xff"])
def test_a_body_that_is_no_object_is_none(body: bytes) -> None:
    assert Reply(200, body=body).json() is None
