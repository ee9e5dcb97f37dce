"""A handler of your own behind Raincheck: work that takes its time, tells how far it is, and stops when told to.

Serve it from the folder that has this file, with this in raincheck.toml:

    [[upstream]]
    name = "studio"
    kind = "python"
    handler = "handler:render"
    models = ["contact-sheet"]
    max_concurrency = 2

Then `raincheck serve`, and ask for a sheet of 12 frames:

    BODY='{"model": "contact-sheet", "prompt": "sunrise over the harbour", "frames": 12}'
    curl localhost:8421/v1/contact-sheets -H 'Prefer: respond-async' --json "$BODY"
"""

import hashlib
from typing import Any

from raincheck.upstream.python import Job, Reject

SECONDS_PER_FRAME = 0.5
MOST_FRAMES = 240


def render(payload: dict[str, Any], job: Job) -> dict[str, Any]:
    """Draw frames one by one. A frame is only a colour here; put your renderer where `draw` is."""
    prompt, frames = payload.get("prompt"), payload.get("frames", 12)
    if not isinstance(prompt, str) or not prompt.strip():
        raise Reject("prompt must say what to draw")
    if not isinstance(frames, int) or not 1 <= frames <= MOST_FRAMES:
        raise Reject(f"frames must be a number from 1 to {MOST_FRAMES}", code="frames_out_of_range")

    sheet: list[str] = []
    for number in range(1, frames + 1):
        # Stands in for work. Between two steps is where to look whether anybody still wants the result.
        job.wait_cancelled(SECONDS_PER_FRAME)
        job.raise_if_cancelled()
        sheet.append(draw(prompt, number))
        job.delta({"frame": number, "colour": sheet[-1]})
        job.progress(number / frames, f"frame {number} of {frames}")
    return {"object": "contact_sheet", "prompt": prompt, "frames": sheet, "usage": {"frames": frames}}


def draw(prompt: str, number: int) -> str:
    """The colour of a frame, the same for the same prompt and number."""
    return f"#{hashlib.sha256(f'{prompt}/{number}'.encode()).hexdigest()[:6]}"
