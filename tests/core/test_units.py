"""Units: durations and sizes as people write them."""

import pytest

from raincheck.core.clock import DAY, HOUR, MINUTE, SECOND
from raincheck.core.units import (
    parse_duration,
    parse_size,
    read_words,
    read_yes_no,
    show_duration,
    whole,
    without_password,
)


@pytest.mark.parametrize(
    ("given", "us"),
    [
        ("15s", 15 * SECOND),
        ("500ms", SECOND // 2),
        (2.5, 2_500_000),
        ("1.5h", 90 * MINUTE),
        ("7 d", 7 * DAY),
        ("3", 3 * SECOND),
    ],
)
def test_durations_are_seconds_or_have_a_unit(given: object, us: int):
    assert parse_duration(given) == us


@pytest.mark.parametrize(
    "given",
    ["soon", "-1s", "5 weeks", -1, True, None, "", " ", float("inf"), float("nan"), "١h", "1\u2003h", "1\u212a"],
)
def test_anything_else_is_no_duration(given: object):
    with pytest.raises(ValueError, match="as in 15s"):
        parse_duration(given)


@pytest.mark.parametrize(("given", "size"), [("32MiB", 32 << 20), (5, 5), ("1.5 kB", 1500), ("1GB", 10**9), ("7", 7)])
def test_sizes_are_bytes_or_have_a_unit(given: object, size: int):
    assert parse_size(given) == size


@pytest.mark.parametrize("given", ["big", -1, 1.5, True, "1TB", "١MiB", "1\u212aB"])
def test_anything_else_is_no_size(given: object):
    with pytest.raises(ValueError, match="as in 32MiB"):
        parse_size(given)


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (4_200_000, "4.2s"),
        (0, "0s"),
        (200 * SECOND, "3m 20s"),
        (2 * HOUR, "2h"),
        (7 * DAY - MINUTE, "6d 23h"),
        (59_990_000, "1m"),
    ],
)
def test_durations_are_shown_in_at_most_two_units(us: int, text: str):
    assert show_duration(us) == text


def test_words_numbers_and_yes_come_as_toml_or_as_text():
    assert read_words("a, b") == read_words(["a", "b"]) == ("a", "b")
    assert whole(1, 9).read("7") == whole(1, 9).read(7) == 7
    assert read_yes_no("No") is read_yes_no(False) is False


@pytest.mark.parametrize(
    ("read", "given"), [(read_words, ["a", 1]), (read_words, "a,,b"), (whole(1, 9).read, True), (read_yes_no, 1)]
)
def test_the_wrong_kind_is_refused(read: object, given: object):
    assert callable(read)
    with pytest.raises(ValueError, match="must be"):
        read(given)


@pytest.mark.parametrize("given", ["36501d", 1e11, 10**400, "9" * 400 + "d"])
def test_a_duration_that_time_has_no_room_for_is_refused(given: object):
    """The largest ones become a number that no record can hold, or none at all."""
    with pytest.raises(ValueError, match="must be at most 36500d"):
        parse_duration(given)


@pytest.mark.parametrize("given", [0, "0", "0.1", "2GB", 10**400, "9" * 400])
def test_a_size_is_at_least_a_byte_and_no_more_than_a_record_holds(given: object):
    with pytest.raises(ValueError, match="must be from 1 byte to 1GB"):
        parse_size(given)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:hush@db/x", "postgresql://me:***@db/x"),
        ("postgresql://:hush@db/x", "postgresql://:***@db/x"),
        (
            "postgresql://db/x?user=me&password=hush&sslmode=require",
            "postgresql://db/x?user=me&password=***&sslmode=require",
        ),
        ("postgresql://db/x?sslpassword=hush", "postgresql://db/x?sslpassword=***"),
        ("postgresql://me@one:5432,two/x", "postgresql://me@one:5432,two/x"),
        ("sqlite:///raincheck.db", "sqlite:///raincheck.db"),
    ],
)
def test_a_store_url_is_shown_without_its_password(url: str, shown: str):
    assert without_password(url) == shown
