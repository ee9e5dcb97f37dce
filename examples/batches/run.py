"""Many prompts in one loop: results come as they finish, with a bar in a terminal."""

import os

from raincheck import Raincheck


def main() -> None:
    client = Raincheck()  # RAINCHECK_BASE_URL, RAINCHECK_API_KEY
    countries = ["France", "Japan", "Brazil"]

    run = client.batches.run(
        (f"The capital of {country} is" for country in countries),
        model=os.environ.get("RAINCHECK_MODEL", "smollm2-135m"),
        custom_ids=countries,
        params={"max_tokens": 12, "temperature": 0},
        progress=True,
    )
    print(f"Batch: {run.id}")  # If this script dies: client.batches.resume(run.id, after=run.last)

    for result in run:
        print(f"{result.custom_id}: {result.text if result.error is None else result.error.message}")

    print(f"{run.counts.completed} of {run.counts.total} completed")


if __name__ == "__main__":
    main()
