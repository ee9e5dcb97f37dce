"""Units: what a setting's value may be, and how to read it as people write it (`15s`, `7d`, `32MiB`)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

from raincheck.core.clock import DAY, HOUR, MINUTE, SECOND

_DURATIONS = {"us": 1, "ms": 1_000, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_SIZES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
LONGEST = 36_500 * DAY
"""No duration is longer, so that a time and a duration always make a time that can be kept and shown."""
LARGEST = 10**9
"""No body is larger: it is what SQLite holds in one value."""
LARGEST_FILE = 1 << 40
"""No file is larger; it never is in a value, nor in memory."""
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


@dataclass(frozen=True, slots=True)
class Unit:
    """What a value may be: words for people, and how to read it from TOML or from a variable's text."""

    words: str
    read: Callable[[object], object]
    """Raises ValueError with the end of the sentence "this setting …"."""


def parse_duration(given: object) -> int:
    """Microseconds from a number of seconds or from text such as `15s`, `500ms`, `7d`. Raises ValueError."""
    length = _quantity(given, _DURATIONS, "s")
    if length is None:
        raise ValueError("must be a number of seconds, or a number with ms, s, m, h or d, as in 15s")
    if length > LONGEST:
        raise ValueError(f"must be at most {show_duration(LONGEST)}")
    return round(length)


def parse_size(given: object, *, at_most: int = LARGEST) -> int:
    """Bytes from a number or from text such as `32MiB`. Raises ValueError."""
    size = None if isinstance(given, float) else _quantity(given, _SIZES, "")
    if size is None:
        raise ValueError("must be a number of bytes, or a number with KiB, MiB, GiB, kB, MB or GB, as in 32MiB")
    if not 1 <= size <= at_most:
        raise ValueError(f"must be from 1 byte to {'1GB' if at_most == LARGEST else '1TiB'}")
    return round(size)


def _quantity(given: object, units: Mapping[str, int], plain: str) -> float | None:
    """A number or text with a unit in the least unit, not rounded yet: it may be too large for that."""
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given < inf:
        return given * units[plain]
    if isinstance(given, str) and given.isascii() and (match := _QUANTITY.fullmatch(given.strip().lower())):
        unit = units.get(match[2] or plain)
        return None if unit is None else float(match[1]) * unit
    return None


def show_duration(us: int) -> str:
    """A length of time for people, in at most two units: `4.2s`, `3m 20s`, `2h`, `6d 23h`."""
    if us < MINUTE - SECOND // 20:
        return f"{us / SECOND:.1f}".removesuffix(".0") + "s"
    whole = round(us / SECOND) * SECOND
    parts = list[str]()
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s")):
        count, whole = divmod(whole, unit)
        if count:
            parts.append(f"{count}{name}")
        elif parts:
            break
    return " ".join(parts[:2])


def read_text(given: object) -> str:
    if isinstance(given, str) and given.strip():
        return given.strip()
    raise ValueError("must be text")


def read_words(given: object) -> tuple[str, ...]:
    parts = given.split(",") if isinstance(given, str) else given
    if isinstance(parts, list | tuple):
        entries = cast("Sequence[object]", parts)
        words = tuple(entry.strip() for entry in entries if isinstance(entry, str))
        if all(words) and len(words) == len(entries):
            return words
    raise ValueError('must be a list of texts, as in ["a", "b"], or in a variable a,b')


def read_yes_no(given: object) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if isinstance(given, bool):
        return given
    if isinstance(given, str) and given.lower() in known:
        return known[given.lower()]
    raise ValueError("must be true or false")


def read_base_url(given: object) -> str:
    """Where an upstream's API begins; a URL without a path is completed with `/v1`."""
    text = read_public_url(given)
    return text if urlsplit(text).path else f"{text}/v1"


def read_public_url(given: object) -> str:
    text = read_text(given).rstrip("/")
    wrong = "must be an http:// or https:// URL, as in http://10.0.0.5:8000/v1"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError(wrong) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(wrong)
    if parts.username or parts.password:
        raise ValueError("must not hold a user or password; put the key in a variable and name it with api_key_env")
    return text


def read_base_urls(given: object) -> tuple[str, ...]:
    return tuple(read_base_url(url) for url in read_words(given))


def read_store_url(given: object) -> str:
    """A store's URL; a bare path is a SQLite file. What is wrong is told without the URL: it may hold a password."""
    text = read_text(given)
    if "://" not in text:
        return f"sqlite:///{text}"
    if text.startswith("sqlite:///") and text != "sqlite:///":
        return text
    if match := _POSTGRESQL.fullmatch(text):
        return f"postgresql://{match['rest']}"
    raise ValueError(
        "must be sqlite:///path (three slashes and a relative path, four for an absolute one) "
        "or postgresql://user@host:port/database"
    )


# Hosts may be several, each with its port, or none when the query or the environment has them; urlsplit knows one.
_HOST = r"(?:[^/?#@:,\[\]]*|\[[^/?#@,]*\])(?::\d*)?"
_POSTGRESQL = re.compile(
    r"postgres(?:ql)?://(?P<rest>(?:[^/?#@]*@)?"
    rf"{_HOST}(?:,{_HOST})*(?:/[^/?#@]*)?(?:\?[^#]*)?)"
)
_PASSWORD = re.compile(r"(?<=://)([^/?#@:]*):[^/?#@]*@|(?<=[?&])((?:ssl)?password)=[^&]*")


def has_password(url: str) -> bool:
    return _PASSWORD.search(url) is not None


def without_password(url: str) -> str:
    """A store's URL as it may be shown."""
    return _PASSWORD.sub(lambda found: f"{found[2]}=***" if found[2] else f"{found[1]}:***@", url)


def read_blobs_url(given: object) -> str:
    """Where an object store keeps things; a bare path is a folder."""
    text = read_text(given)
    if "://" not in text:
        return Path(text).absolute().as_uri()
    parts = urlsplit(text)
    folder = parts.scheme == "file" and not parts.netloc and parts.path.strip("/")
    bucket = parts.scheme == "s3" and re.fullmatch(r"[\w.-]+", parts.netloc)
    if (folder or bucket) and not parts.query and not parts.fragment:
        return text.rstrip("/")
    raise ValueError(
        "must be file:///folder or s3://bucket/prefix; how to reach S3 and its keys stand in AWS_… variables"
    )


def read_concurrency(given: object) -> int | Literal["auto"]:
    if isinstance(given, str) and given.strip().lower() == "auto":
        return "auto"
    try:
        return cast("int", COUNT.read(given))
    except ValueError as error:
        raise ValueError(f'{error}, or "auto"') from None


def whole(low: int, high: int) -> Unit:
    words = f"a whole number from {low} to {high}"

    def read(given: object) -> int:
        number = int(given) if isinstance(given, str) and given.isascii() and given.strip().isdecimal() else given
        if isinstance(number, int) and not isinstance(number, bool) and low <= number <= high:
            return number
        raise ValueError(f"must be {words}")

    return Unit(words, read)


def lasting(low: int) -> Unit:
    def read(given: object) -> int:
        length = parse_duration(given)
        if length < low:
            raise ValueError(f"must be at least {show_duration(low)}")
        return length

    return Unit("a duration", read)


def one_of(names: Sequence[str]) -> Unit:
    words = " or ".join(f"`{name}`" for name in names)

    def read(given: object) -> str:
        if isinstance(given, str) and given in names:
            return given
        raise ValueError(f"must be {words}")

    return Unit(words, read)


TEXT = Unit("text", read_text)
WORDS = Unit("a list of texts", read_words)
YES_NO = Unit("true or false", read_yes_no)
BASE_URL = Unit("an http(s) URL", read_base_url)
PUBLIC_URL = Unit("an http(s) URL", read_public_url)
BASE_URLS = Unit("a list of http(s) URLs", read_base_urls)
STORE_URL = Unit("sqlite:///path or postgresql://…", read_store_url)
BLOBS_URL = Unit("file:///folder or s3://bucket/prefix", read_blobs_url)
COUNT = whole(1, 100_000)
CONCURRENCY = Unit(f"{COUNT.words}, or `auto`", read_concurrency)
PER_MINUTE = whole(1, 1_000_000_000)
SIZE = Unit("a size", parse_size)
FILE_SIZE = Unit("a size", partial(parse_size, at_most=LARGEST_FILE))
