"""Takes outcomes, hands on what results.json says: by client its versions, and by call what came of it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from tests.clients.trying import Outcome

FILE = Path(__file__).with_name("results.json")


class Client(msgspec.Struct):
    """One client; a column is `pinned`, `old` or `latest`."""

    versions: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """By column."""
    calls: dict[str, dict[str, str]] = msgspec.field(default_factory=dict[str, dict[str, str]])
    """By call and column: `works`, `differs: how` or `fails`. Where the client has no such call there is nothing."""

    def column(self, name: str) -> dict[str, str]:
        return {call: words[name] for call, words in self.calls.items() if name in words}


Results = dict[str, Client]


def read() -> Results:
    return msgspec.json.decode(FILE.read_bytes(), type=Results) if FILE.exists() else {}


def write(results: Results) -> None:
    text = msgspec.json.format(msgspec.json.encode(results, order="sorted"), indent=2)
    FILE.write_bytes(text + b"\n")


def gathered(outcomes: Iterable[tuple[str, Sequence[Outcome]]]) -> Results:
    """The results of what was tried, given by column."""
    results: Results = {}
    for column, each in outcomes:
        for outcome in each:
            client = results.setdefault(outcome.client, Client())
            client.versions[column] = outcome.version
            client.calls.setdefault(outcome.call, {})[column] = outcome.word
    return results
