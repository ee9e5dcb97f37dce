"""What a batch would ask for, counted here; how long that would take, the server knows."""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from raincheck.client.batches.lines import Recipe, Requests, each

BYTES_PER_TOKEN = 4
_BOUNDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


class Tally:
    """Requests and tokens by endpoint and model."""

    def __init__(self) -> None:
        self.requests = 0
        self.input_tokens = 0
        self._lines = defaultdict[tuple[str, str], list[int]](lambda: [0, 0])

    @classmethod
    def of(cls, requests: Requests, recipe: Recipe) -> "Tally":
        """Of requests that are read one at a time. Raises ValueError, OSError."""
        tally = cls()
        for line in each(requests, recipe):
            tally.add(line)
        return tally

    def add(self, line: Mapping[str, Any]) -> None:
        body: dict[str, Any] = line["body"]
        read = len(json.dumps(body, ensure_ascii=False).encode()) // BYTES_PER_TOKEN
        bounds = (body.get(name) for name in _BOUNDS)
        written = next((bound for bound in bounds if isinstance(bound, int)), 0)
        self.requests += 1
        self.input_tokens += read
        counted = self._lines[line["url"], str(body.get("model"))]
        counted[0] += 1
        counted[1] += read + written

    def body(self) -> dict[str, Any]:
        """What the server is asked."""
        return {
            "lines": [
                {"endpoint": endpoint, "model": model, "requests": requests, "tokens": tokens}
                for (endpoint, model), (requests, tokens) in self._lines.items()
            ]
        }
