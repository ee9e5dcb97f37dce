"""The lifecycle table, the error catalogue, ids and times."""

import inspect

from raincheck.core import errors
from raincheck.core.clock import micros, now, seconds
from raincheck.core.errors import RaincheckError
from raincheck.core.events import event_type
from raincheck.core.ids import new_id
from raincheck.core.status import FINAL, MOVES, Status


def test_a_final_status_has_no_way_out() -> None:
    """G2."""
    assert {Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.EXPIRED} == FINAL
    assert all(status.final == (status in FINAL) for status in Status)
    assert not Status.PENDING.final


def test_every_status_can_be_reached() -> None:
    assert {to for targets in MOVES.values() for to in targets} == set(Status)


def catalogue() -> list[type[RaincheckError]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, RaincheckError)]


def test_every_error_has_its_own_code_and_says_what_to_do() -> None:
    codes = [kind.code for kind in catalogue()]
    assert len(codes) == len(set(codes))
    for kind in catalogue():
        assert kind.__doc__
        assert kind().message.endswith(".")
        assert "\n" not in kind().message


def test_the_tree_drawn_at_the_top_is_the_tree() -> None:
    drawn = errors.__doc__ or ""
    for kind in catalogue():
        assert kind.__name__ in drawn
        assert kind is RaincheckError or kind.code in drawn


def test_ids_sort_by_time_and_are_unique() -> None:
    ids = [new_id("req") for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert ids == sorted(ids)
    assert ids[0].startswith("req_")


def test_times_round_to_milliseconds_for_json() -> None:
    assert seconds(micros(1.2345678)) == 1.234
    assert abs(now() - now()) < 10_000_000


def test_an_event_is_named_after_operation_and_end() -> None:
    assert event_type("chat.completion", Status.FAILED) == "chat.completion.failed"
