"""From a prompt to its tokens: words, numbers, ratios, quoted texts and what links instructions."""

import re
from typing import Literal, NamedTuple

Kind = Literal["text", "ratio", "number", "word", "link", "other"]

LINKS = frozenset({"and", "then", "plus", "also", "after", "finally"})
"""Words between instructions; so are commas, full stops and the like."""

_NUMBERS = {
    "half": 0.5,
    **dict.fromkeys(("one", "once"), 1.0),
    **dict.fromkeys(("two", "twice", "double"), 2.0),
    **dict.fromkeys(("three", "thrice", "triple"), 3.0),
    **{word: float(n) for n, word in enumerate(("four", "five", "six", "seven", "eight", "nine", "ten"), 4)},
}
_SIGNS = {"×": "x", "°": "degrees"}
_TOKEN = re.compile(
    r"""
      "(?P<straight>[^"]*)" | “(?P<curly>[^”]*)” | «(?P<angled>[^»]*)» | „(?P<low>[^“”]*)[“”]
    | (?<!\w)'(?P<single>[^']*)'(?!\w)
    | (?P<ratio>[0-9]{1,3}\s?:\s?[0-9]{1,3})(?![0-9])
    | (?P<number>[0-9]{1,6}(?:\.[0-9]{1,6})?)(?![0-9])
    | (?P<word>[^\W\d_]+(?:['’][^\W\d_]+)*)
    | (?P<link>[,;.!&+\n]|--|[–—])
    | (?P<space>[\s-])
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class Token(NamedTuple):
    """A piece of a prompt, and where it stands there."""

    kind: Kind
    value: str
    """In lower case; a quoted text as it is, without its quotes."""
    start: int
    end: int

    @property
    def number(self) -> float | None:
        """The number that it is, or that it says."""
        return float(self.value) if self.kind == "number" else _NUMBERS.get(self.value)


def tokens(prompt: str) -> list[Token]:
    """Every piece of a prompt but the spaces, in order; nothing is lost and nothing raises."""
    return [token for match in _TOKEN.finditer(prompt) if (token := _token(match))]


def _token(match: re.Match[str]) -> Token | None:
    found = match.lastgroup
    assert found is not None  # noqa: S101 - each alternative is a group
    value = match[found]
    match found:
        case "space":
            return None
        case "straight" | "curly" | "angled" | "low" | "single":
            return Token("text", value.strip(), *match.span())
        case "ratio":
            return Token("ratio", "".join(value.split()), *match.span())
        case "number":
            return Token("number", value, *match.span())
        case "word":
            value = value.casefold().replace("’", "'")
            return Token("link" if value in LINKS else "word", value, *match.span())
        case "link":
            return Token("link", "and" if value == "&" else value, *match.span())
        case _:
            return Token("word" if value in _SIGNS else "other", _SIGNS.get(value, value), *match.span())
