"""The edit grammar: plain English is understood whole, or refused by naming the part that is not."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raincheck.upstream.preview.editing.edits import (
    Boomerang,
    Caption,
    Crop,
    Edit,
    Fade,
    Gray,
    Loop,
    Mirror,
    Mute,
    Reverse,
    Speed,
    Tone,
    Trim,
    Turn,
)
from raincheck.upstream.preview.editing.grammar import GRAMMAR, NotUnderstood, OutOfRange, Rule, parse, reference

RULES = [rule for rules in GRAMMAR.values() for rule in rules]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.says)
def test_every_example_is_understood_as_its_own_rule(rule: Rule) -> None:
    assert parse(rule.says) == parse(f"Please {rule.says}!")


@pytest.mark.parametrize(
    ("prompt", "edits"),
    [
        ("Make it black and white, then play it backwards please", (Gray(), Reverse())),
        ("slow it down to half speed and mute it", (Speed(0.5), Mute())),
        ("slow motion", (Speed(0.5),)),
        ("Make the video 2x faster", (Speed(2.0),)),
        ("make it twice as slow", (Speed(0.5),)),
        ("play at 0.25x speed", (Speed(0.25),)),
        ("b&w", (Gray(),)),
        ("a little bit brighter and much warmer", (Tone("brightness", 0.5), Tone("warmth", 1.75))),
        ("more contrast, less saturation", (Tone("contrast", 1.0), Tone("saturation", -1.0))),
        ("rotate 90° counter-clockwise", (Turn(3),)),
        ("turn the video upside down", (Turn(2),)),
        ("mirror it; flip vertically", (Mirror("horizontal"), Mirror("vertical"))),
        ("crop to 9:16", (Crop(9, 16),)),
        ("play it three times", (Loop(3),)),
        ("loop 2×\nboomerang", (Loop(2), Boomerang())),
        ("cut to the first 3 seconds", (Trim("first", 3.0, True),)),
        ("trim off the last 1.5s", (Trim("last", 1.5, False),)),
        ("fade in and out", (Fade("in", 1), Fade("out", 1))),
        ("fade in 2 seconds", (Fade("in", 2.0),)),
        ("add a caption saying 'don’t and won’t' at the top", (Caption("don’t and won’t", "top"),)),
        ('caption "reverse, then loop" and reverse', (Caption("reverse, then loop", "bottom"), Reverse())),
        ("without the music", (Mute(),)),
    ],
)
def test_plain_english_is_understood(prompt: str, edits: tuple[Edit, ...]) -> None:
    assert parse(prompt) == edits


@pytest.mark.parametrize(
    ("prompt", "part"),
    [
        ("reverse and add a unicorn", "add a unicorn"),
        ("not brighter", "not brighter"),
        ("reverse it, brighter not", "not"),
        ("caption Hello", "caption Hello"),
        ("make it", "make it"),
        ("превратить в ночь", "превратить в ночь"),
        ("🎬", "🎬"),
    ],
)
def test_what_is_not_understood_is_quoted_and_the_list_of_what_is_follows(prompt: str, part: str) -> None:
    with pytest.raises(NotUnderstood) as caught:
        parse(prompt)
    assert f"“{part}”" in str(caught.value)
    assert all(rule.says in str(caught.value) for rule in RULES)


@pytest.mark.parametrize("prompt", ["", "  \n", ",", "and then"])
def test_a_prompt_without_an_instruction_is_refused(prompt: str) -> None:
    with pytest.raises(NotUnderstood, match="names no edit"):
        parse(prompt)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("100x faster", r"from 0\.1× to 10×"),
        ("slower by 0", "no speed"),
        ("slow down 50 times", r"from 0\.1×"),
        ("loop 1000 times", "from 2 to 20"),
        ("rotate 45", "90, 180 or 270"),
        ("crop to 100:1", "from 1:4 to 4:1"),
        ("crop to 4:0", "from 1:4 to 4:1"),
        ("fade out 900 seconds", "up to 30"),
        ("trim to the first 0 seconds", "above 0"),
        ('caption ""', "from 1 to 200"),
        (f'caption "{"x" * 201}"', "from 1 to 200"),
        (", ".join(["reverse"] * 21), "at most 20"),
        ("a " * 501, "1000 characters"),
    ],
)
def test_what_goes_too_far_is_refused_with_its_range(prompt: str, message: str) -> None:
    with pytest.raises(OutOfRange, match=message):
        parse(prompt)


@given(st.lists(st.sampled_from(RULES), min_size=1, max_size=6), st.sampled_from([" and ", ", ", " then ", "; ", "\n"]))
def test_instructions_that_are_joined_are_done_in_their_order(rules: list[Rule], link: str) -> None:
    alone = [edit for rule in rules for edit in parse(rule.says)]
    assert parse(link.join(rule.says for rule in rules)) == tuple(alone)


@given(st.text(max_size=80) | st.lists(st.sampled_from(" ".join(rule.says for rule in RULES).split())).map(" ".join))
def test_any_text_is_understood_or_refused(prompt: str) -> None:
    with suppress(NotUnderstood, OutOfRange):
        assert parse(prompt)


def test_the_reference_page_has_the_grammar_as_it_is() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "preview.md"
    assert reference() in page.read_text(encoding="utf-8")
