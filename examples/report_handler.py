"""A report as a deferred operation: it tells how far it is, shows what it has so far, and leaves files behind.

Serve it from this folder, which has report.toml:

    raincheck serve --config report.toml

Ask for a report, then look at the request until it is completed; its `attachments` have links to the files:

    BODY='{"model": "report", "title": "Sales", "series": {"North": [12, 15, 9], "South": [7, 8, 11]}}'
    curl localhost:8421/v1/reports -H 'Prefer: respond-async' --json "$BODY"
    curl localhost:8421/v1/requests/req_…
"""

import csv
from collections.abc import Generator
from html import escape
from typing import Any

from raincheck.upstream.python import Job, Reject

Step = tuple[float, str] | dict[str, Any]
PAGE = "<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1>{charts}"
CHART = "<h2>{name}</h2><svg viewBox='0 0 {width} 100' width={width} height=100>{bars}</svg>"
BAR = "<rect x={x} y={y} width=18 height={height} fill='#4a7ba6'></rect>"


def report(payload: dict[str, Any], job: Job) -> Generator[Step, None, dict[str, Any]]:
    """One chart after the other. What it yields is progress or a piece of the result; what it returns is the result."""
    title = str(payload.get("title", "Report"))
    try:
        series = {name: [float(value) for value in values] for name, values in payload["series"].items()}
    except (KeyError, AttributeError, TypeError, ValueError):
        raise Reject('series must be an object of lists of numbers, as in {"North": [12, 15]}') from None
    if not series:
        raise Reject("series must have something to draw", code="series_empty")

    charts: list[str] = []
    for number, (name, values) in enumerate(series.items(), start=1):
        charts.append(chart(name, values))
        yield {"series": name, "total": sum(values)}
        yield number / len(series), f"drew {name}"

    page, table = job.folder / "report.html", job.folder / "figures.csv"
    page.write_text(PAGE.format(title=escape(title), charts="".join(charts)), encoding="utf-8")
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([name, *values] for name, values in series.items())
    # Each path becomes a file of the request; the result has its name.
    return {"object": "report", "title": title, "page": page, "table": table, "usage": {"charts": len(charts)}}


def chart(name: str, values: list[float]) -> str:
    """The bars of one series, the highest at full height."""
    highest = max([*values, 1])
    heights = [round(100 * max(value, 0) / highest) for value in values]
    bars = "".join(BAR.format(x=20 * at, y=100 - height, height=height) for at, height in enumerate(heights))
    return CHART.format(name=escape(name), width=20 * len(values), bars=bars)
