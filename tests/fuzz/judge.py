"""Takes what schemathesis did and found, hands on the count of it, and the failures that nothing excuses."""

from collections import Counter
from collections.abc import Collection, Generator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from schemathesis.engine import Status, events

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "ignored_auth",
    "use_after_free",
)
CASES = 2_000
LED = 25
"""Kinds of links of which one at least has to lead somewhere: there are some fifty."""


class Excuse(NamedTuple):
    """A failed check that is no fault of the server: of this operation, for this answer alone."""

    operation: str
    check: str
    status: int
    code: str
    """The answer's `error.code`."""


EXCUSED = {
    Excuse("POST /v1/webhook_endpoints/{endpoint_id}/test", "not_a_server_error", 502, "webhook_unreachable"): (
        "the address of a webhook that was made up"
    ),
}
"""And whose fault it is instead."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that must not be."""

    operation: str
    title: str
    message: str
    curl: str


@dataclass
class Tally:
    """What was done, and what was found."""

    cases: int = 0
    operations: Counter[str] = field(default_factory=Counter[str])
    accepted: Counter[str] = field(default_factory=Counter[str])
    """By operation: answers below 300."""
    statuses: Counter[int] = field(default_factory=Counter[int])
    links: Counter[str] = field(default_factory=Counter[str])
    led: Counter[str] = field(default_factory=Counter[str])
    """By link: how often it led to an answer below 300."""
    slowest: tuple[float, str] = (0.0, "")
    """Seconds, and of which operation."""
    excused: Counter[Excuse] = field(default_factory=Counter[Excuse])
    failures: dict[tuple[str, str], Failure] = field(default_factory=dict[tuple[str, str], Failure])
    """The first of each kind, by operation and title."""

    def take(self, event: events.EngineEvent) -> None:
        """Count one event of a run."""
        match event:
            case events.ScenarioFinished() | events.FuzzScenarioFinished():
                self._recorded(event.recorder)
            case events.NonFatalError():
                self.fail(event.label, event.info.title, event.info.message)
            case events.FatalError():
                self.fail("the fuzz", "Fatal error", repr(event.exception))
            case _:
                pass

    def fail(self, operation: str, title: str, message: str, curl: str = "") -> None:
        self.failures.setdefault((operation, title), Failure(operation, title, message, curl))

    def too_little(self, operations: Collection[str]) -> Generator[str]:
        """In which ways it is too little to say anything of a server that has these operations."""
        for operation in sorted(set(operations) - set(self.operations)):
            yield f"{operation} was never called."
        if self.cases < CASES:
            yield f"{self.cases} cases are few; {CASES} are wanted."
        if (led := sum(1 for count in self.led.values() if count)) < LED:
            yield f"{led} kinds of links led somewhere; {LED} are wanted."

    def _recorded(self, recorder: Any) -> None:
        for case_id, node in recorder.cases.items():
            interaction = recorder.interactions.get(case_id)
            if interaction is None or interaction.response is None:
                continue
            label, status = node.value.operation.label, interaction.response.status_code
            self.cases += 1
            self.slowest = max(self.slowest, (interaction.response.elapsed, label))
            self.operations[label] += 1
            self.statuses[status] += 1
            self.accepted[label] += status < 300
            if node.transition is not None and node.is_transition_applied:
                self.links[node.transition.id] += 1
                self.led[node.transition.id] += status < 300
        for case_id, checks in recorder.checks.items():
            for check in checks:
                if check.status == Status.FAILURE:
                    self._failed(recorder, case_id, check)

    def _failed(self, recorder: Any, case_id: str, check: Any) -> None:
        info = check.failure_info
        interaction = recorder.interactions.get(info.failure.case_id or case_id)
        response = None if interaction is None else interaction.response
        label = recorder.cases[case_id].value.operation.label
        if response is not None:
            excuse = Excuse(label, check.name, response.status_code, code_of(response.content))
            if excuse in EXCUSED:
                self.excused[excuse] += 1
                return
        said = f"{info.failure.message}\n{'' if response is None else response.content[:400]}"
        steps = "\n".join(step.curl for step in info.steps) or info.code_sample
        self.fail(label, info.failure.title, said, steps)


def code_of(body: bytes) -> str:
    """The `error.code` of an answer, empty for one that has none."""
    try:
        return str(msgspec.json.decode(body, type=dict[str, Any])["error"]["code"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return ""


def complaints(log: str) -> Generator[tuple[str, str]]:
    """What a server has to be ashamed of in what it said on stderr, where each line is JSON: kinds, and lines."""
    for line in filter(str.strip, log.splitlines()):
        try:
            said = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError:
            yield "No JSON", line
            continue
        if said.get("level") in {"error", "critical"}:
            yield str(said.get("event")), line
