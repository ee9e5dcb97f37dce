"""What others have written is shown in a terminal, and does nothing there."""

import sys

import pytest

from raincheck.cli.show import print_facts, print_table, say, visible

NASTY = "\x1b[2J\x07a\tb\nc\u202e\x9b31m\x7f"


def test_control_characters_are_written_out_as_in_json():
    assert visible(NASTY) == r"\u001b[2J\u0007a\u0009b\u000ac\u202e\u009b31m\u007f"
    assert visible("Grüße, 世界 🌧") == "Grüße, 世界 🌧"


def test_text_keeps_its_lines_in_a_terminal_and_everything_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    say("a\u202e\n")
    assert capsys.readouterr().out == "a\u202e\n\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    say(NASTY, nl=False)
    assert capsys.readouterr().out == "\\u001b[2J\\u0007a\tb\nc\\u202e\\u009b31m\\u007f"


def test_a_name_breaks_no_row_and_no_line(capsys: pytest.CaptureFixture[str]):
    print_table(("id", "name"), [("we_1", "a\tb\nc")], empty="")
    print_facts([("na\nme", "a\nb")])
    row, fact = capsys.readouterr().out.splitlines()
    assert row == "we_1\ta\\u0009b\\u000ac"
    assert fact == "na\\u000ame  a\\u000ab"
