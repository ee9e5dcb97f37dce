"""Takes an OpenAPI document and a server, hands on what schemathesis found when it called the one by the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import schemathesis
from schemathesis.engine import from_schema

from tests.fuzz.cases import shape
from tests.fuzz.judge import CHECKS, Tally

EXAMPLES = 15
"""Cases by operation and turn; turns go on while there is time."""
EACH = ("examples", "coverage", "fuzzing")
ALONG_LINKS = ("stateful",)


@dataclass(frozen=True, slots=True)
class Budget:
    """How long, and what makes the cases up."""

    seconds: int
    seed: int
    examples: int = EXAMPLES


def fuzz(
    document: Mapping[str, Any], url: str, key: str, budget: Budget, phases: Sequence[str], tally: Tally | None = None
) -> Tally:
    """Add what was done and found to a tally, a new one unless it is given."""
    tally = tally or Tally()
    config = _config(url, key, budget)
    config.projects.default.phases.update(phases=list(phases))
    schema = schemathesis.openapi.from_dict(dict(document), config=config)
    shape(schema)
    for event in from_schema(schema).execute():
        tally.take(event)
    return tally


def _config(url: str, key: str, budget: Budget) -> schemathesis.Config:
    return schemathesis.Config.from_dict(  # pyright: ignore[reportUnknownMemberType]
        {
            "seed": budget.seed,
            "max-time": budget.seconds,
            "base-url": url,
            "headers": {"Authorization": f"Bearer {key}"},
            "request-timeout": 10,
            "continue-on-failure": True,
            "checks": {"enabled": False} | {name: {"enabled": True} for name in CHECKS},
            "generation": {"max-examples": budget.examples, "database": "none", "no-shrink": True},
            # Only the document's own links are followed.
            "phases": {"stateful": {"inference": {"algorithms": []}, "generation": {"mode": "positive"}}},
        }
    )
