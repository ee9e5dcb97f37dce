"""What people have, to the requests of a batch; and what is wrong with it, with the line it stands on."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from raincheck.cli.batch_input import fill, input_of
from raincheck.cli.batch_output import Target, merged, refuse_foreign
from raincheck.cli.batch_run import members_of
from raincheck.cli.exits import Problem


def made(path: Path, text: str | bytes, **recipe: Any) -> list[dict[str, Any]]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(input_of(path, None, **recipe).requests())


def prompts(requests: list[dict[str, Any]]) -> list[str]:
    return [request["body"]["messages"][-1]["content"] for request in requests]


def test_a_template_is_filled_from_columns_of_any_name() -> None:
    assert fill("{a b} is {{not}} {c.d}", {"a b": 1, "c.d": "x"}, "line 1") == "1 is {not} x"
    with pytest.raises(Problem, match="line 7: there is no 'c'; there are 'a', 'b'"):
        fill("{c}", {"a": 1, "b": 2}, "line 7")


def test_a_text_file_has_a_prompt_on_each_line(tmp_path: Path) -> None:
    requests = made(tmp_path / "in.txt", "\ufeffone\r\n\r\n  two  \n")
    assert prompts(requests) == ["one", "two"]
    assert [request["custom_id"] for request in requests] == ["request-1", "request-2"]
    assert prompts(made(tmp_path / "in.txt", "one\n", template="Say {text}")) == ["Say one"]


def test_a_table_names_its_requests_by_a_column(tmp_path: Path) -> None:
    requests = made(tmp_path / "in.tsv", "key\ttext\nk1\thello\n", id_column="key")
    assert (prompts(requests), requests[0]["custom_id"]) == (["hello"], "k1")
    assert prompts(made(tmp_path / "one.csv", "question\nWhy?\n")) == ["Why?"]


def test_objects_go_through_a_template_and_bodies_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    assert prompts(made(path, '{"city": "Rome"}\n', template="Where is {city}?")) == ["Where is Rome?"]
    body = {"messages": [{"role": "user", "content": "x"}]}
    assert made(path, json.dumps(body)) == [{"custom_id": "request-1", "body": body}]
    [embedding] = made(tmp_path / "in.txt", "x", endpoint="/v1/embeddings")
    assert embedding["body"] == {"input": "x"}


def test_a_file_of_batch_lines_goes_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    [line] = made(path, '{"custom_id": "a", "body": {"model": "m"}}\n')
    assert line == {"custom_id": "a", "body": {"model": "m"}}
    assert input_of(path, None).as_it_is == path
    assert input_of(path, None, model="m").as_it_is is None
    assert input_of(path, "txt").as_it_is is None


@pytest.mark.parametrize(
    ("name", "text", "recipe", "told"),
    [
        ("a.csv", "a,b\n1,2\n1,2,3\n", {"template": "{a}"}, "line 3: more cells than the 2 columns"),
        ("a.csv", "a,b\n1\n", {"template": "{a}"}, "line 2: fewer cells"),
        ("a.csv", "a,b\n1,2\n", {}, "line 2: which of 'a', 'b' is the prompt"),
        ("a.csv", "a,b\n,2\n", {"template": "{b}", "id_column": "a"}, "line 2: 'a' is empty"),
        ("a.csv", "a,b\n,2\n", {"template": "{a}"}, "line 2: the prompt is empty"),
        ("a.csv", 'a,b\n1,"2\n', {"template": "{a}"}, "line 2: unexpected end of data"),
        ("a.csv", b"a,b\n\xff,2\n", {"template": "{a}"}, "line 2 is not UTF-8 text; is it from Excel"),
        ("a.txt", "one\n".encode("utf-16"), {}, "this is UTF-16"),
        ("a.txt", b"one\ntwo\n\xff\n", {}, "line 3 is not UTF-8"),
        ("a.txt", "\n \n", {}, "no requests in a.txt: it is empty"),
        ("a.csv", "a,b\n1,x\n1,y\n", {"template": "{b}", "id_column": "a"}, "line 3: '1' names an earlier request"),
        ("a.csv", "a|b\n1;x\n", {"template": "{b}", "delimiter": ";"}, "2 cells|more cells than the 1 columns"),
        ("a.jsonl", '{"text": "x"}\nbroken\n', {}, "line 2 is not JSON"),
        ("a.jsonl", "{}\n[1]\n", {"template": "x"}, "line 2 must be a JSON object"),
        ("a.jsonl", '{"a": 1, "b": 2}\n', {}, "line 1: which of 'a', 'b'"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, name: str, text: str | bytes, recipe: dict[str, Any], told: str
) -> None:
    with pytest.raises(Problem, match=told):
        made(tmp_path / name, text, **recipe)


def test_members_are_json_or_text() -> None:
    assert members_of(["temperature=0", "stop=[1]", "user=me", "a=b=c"]) == {
        "temperature": 0,
        "stop": [1],
        "user": "me",
        "a": "b=c",
    }


def outputs(folder: Path, **names: str) -> list[Path]:
    """Files with a line for each letter: of a completed one if it is small, of a failed one if it is a capital."""
    for name, letters in names.items():
        lines = (
            {"custom_id": letter.lower(), "response": {"status_code": 200 if letter.islower() else 400}, "in": name}
            for letter in letters
        )
        (folder / name).write_text("\n".join(map(json.dumps, lines)))
    return [folder / name for name in names]


def found(lines: Any) -> str:
    return "".join(json.loads(line)["custom_id"] for line in lines)


def test_two_outputs_in_any_order_are_merged_in_the_order_of_the_input(tmp_path: Path) -> None:
    one, two = outputs(tmp_path, one="bea", two="fc")
    assert found(merged("abcdefg", [one, two, tmp_path / "none"])) == "abcef"


def test_each_name_has_one_line_and_it_is_the_newest(tmp_path: Path) -> None:
    one, two = outputs(tmp_path, one="aBcb", two="bc")
    lines = [json.loads(line) for line in merged("abcc", [one, two])]
    assert [(line["custom_id"], line["in"]) for line in lines] == [("a", "one"), ("b", "two"), ("c", "two")]


def test_what_failed_is_left_out_where_only_what_completed_is_wanted(tmp_path: Path) -> None:
    one, two = outputs(tmp_path, one="aBC", two="bD")
    assert found(merged("abcd", [one, two], completed=True)) == "ab"


def test_lines_that_the_input_does_not_have_are_told(tmp_path: Path) -> None:
    [one] = outputs(tmp_path, one="abe")
    refuse_foreign(one, "abcde")
    refuse_foreign(tmp_path / "none", "")
    with pytest.raises(Problem, match="one has a line for 'b'"):
        refuse_foreign(one, "acef")


@pytest.mark.parametrize(
    ("output", "errors", "told"),
    [
        ("in.jsonl", None, "it is the input"),
        ("./in.jsonl", None, "it is the input"),
        ("out.jsonl", "out.jsonl", "it is the output"),
        ("out.jsonl", "out.jsonl.part", "it is the unfinished output"),
        ("out.jsonl", "in.jsonl", "it is the input"),
        ("folder/in", "link", "it is the input"),
        ("out.jsonl", "folder", "is a folder"),
        ("out.jsonl", "none/errors", "there is no folder"),
        ("/dev/null", None, "is no file"),
    ],
)
def test_files_that_would_be_written_over_are_refused(
    tmp_path: Path, output: str, errors: str | None, told: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "in.jsonl").touch()
    (tmp_path / "link").symlink_to(tmp_path / "in.jsonl")
    with pytest.raises(typer.BadParameter, match=told):
        Target.of(tmp_path / output, None if errors is None else tmp_path / errors, tmp_path / "in.jsonl")


@pytest.mark.parametrize("name", ["in.txt", "in", "in.log"])
def test_objects_in_a_file_of_no_format_are_taken_for_what_they_are(tmp_path: Path, name: str) -> None:
    body = {"messages": [{"role": "user", "content": "x"}]}
    assert made(tmp_path / name, "\ufeff\n" + json.dumps(body)) == [{"custom_id": "request-1", "body": body}]
    assert prompts(made(tmp_path / name, "{not json}\n")) == ["{not json}"]


@pytest.mark.parametrize("between", [",", ";", "\t", "|"])
def test_what_stands_between_columns_is_seen_in_the_first_line(tmp_path: Path, between: str) -> None:
    text = f'\nid{between}"a, b; c | d"{between}text\n7{between}x{between}"hi; ho, hum"\n'
    [request] = made(tmp_path / "in.csv", text, id_column="id")
    assert (request["custom_id"], prompts([request])) == ("7", ["hi; ho, hum"])


def test_what_stands_between_columns_can_be_said(tmp_path: Path) -> None:
    assert prompts(made(tmp_path / "in.csv", "a:text,b\n1:x\n", delimiter=":", template="{text,b}")) == ["x"]


def test_what_is_no_text_is_filled_in_as_json_and_null_as_nothing(tmp_path: Path) -> None:
    [told] = prompts(made(tmp_path / "in.jsonl", '{"a": null, "b": true, "c": [1, "é"]}', template="<{a}|{b}|{c}>"))
    assert told == '<|true|[1, "é"]>'


def test_a_template_without_a_place_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path / "in.txt", "one\n", template="Say {text}")
    assert capsys.readouterr().err == ""
    made(tmp_path / "in.txt", "one\n", template="Say {{text}}")
    assert "all prompts are the same" in capsys.readouterr().err
