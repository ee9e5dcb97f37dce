"""The parts of the bench that only reckon: what a number is worth, how it is shown, what is asked for."""

from pathlib import Path

import pytest
from bench.options import parse
from bench.report import as_json, table
from bench.rows import MEASURES
from bench.stats import Row, Samples, alternate, percentile, ratio
from rich.console import Console


def a_row(value: float, **changes: object) -> Row:
    plain = {
        "what": "submits",
        "unit": "/s",
        "against": "bare echo",
        "baseline": Samples((5_000.0, 4_000.0, 6_000.0)),
        "ours": Samples((2_500.0, 2_600.0, 2_400.0)),
        "value": value,
        "floor": 0.5,
        "goal": 0.6,
    }
    return Row(**{**plain, **changes})  # pyright: ignore[reportArgumentType]


def test_a_ratio_is_of_medians() -> None:
    assert ratio(Samples((1.0, 100.0, 3.0)), Samples((6.0, 6.0, 0.1))) == 0.5


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([7.0], 0.99)) == (50.0, 99.0, 7.0)


def test_both_sides_take_turns_after_a_warm_up() -> None:
    heard: list[str] = []

    def side(name: str, seconds: float) -> float:
        heard.append(f"{name}{seconds:g}")
        return len(heard)

    baseline, ours = alternate(2, 4.0, lambda s: side("a", s), lambda s: side("b", s))

    assert heard == ["a1", "b1", "a4", "b4", "a4", "b4"]
    assert (baseline.values, ours.values) == ((3, 5), (4, 6))


@pytest.mark.parametrize(("value", "verdict"), [(0.7, "good"), (0.55, "fair"), (0.4, "poor")])
def test_more_is_better_where_it_says_so(value: float, verdict: str) -> None:
    assert a_row(value).verdict == verdict


@pytest.mark.parametrize(("value", "verdict"), [(1.1, "good"), (1.25, "fair"), (1.4, "poor")])
def test_less_is_better_where_it_says_so(value: float, verdict: str) -> None:
    assert a_row(value, better="less", floor=1.3, goal=1.2).verdict == verdict


def test_a_row_without_a_floor_cannot_fall_below_it() -> None:
    assert a_row(0.1, floor=None).verdict == "fair"
    assert a_row(0.1, floor=None, goal=None).verdict == ""


def test_the_table_shows_medians_spread_and_bounds() -> None:
    console = Console(width=140)
    with console.capture() as shown:
        console.print(table([a_row(0.5), a_row(90.0, baseline=None, value_unit="MiB more", better="less", floor=None)]))
    assert "5,000 (4,000–6,000)" in shown.get()
    assert "0.50 ×" in shown.get()
    assert "≥ 0.5" in shown.get()
    assert "90.0 MiB more" in shown.get()


def test_the_json_has_every_round() -> None:
    [row] = as_json([a_row(0.5)], parse([], MEASURES))["rows"]
    assert row["raincheck"] == {"median": 2500.0, "low": 2400.0, "high": 2600.0, "values": (2500.0, 2600.0, 2400.0)}
    assert row["verdict"] == "fair"


def test_everything_is_measured_unless_told_otherwise() -> None:
    assert parse([], MEASURES).only == tuple(MEASURES)
    options = parse(["--only", "reads", "--only", "flat", "--quick", "--json", "x.json"], MEASURES)
    assert (options.only, options.quick, options.json) == (("reads", "flat"), True, Path("x.json"))


def test_an_unknown_row_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--only", "nothing"], MEASURES)
    assert "submits" in capsys.readouterr().err
