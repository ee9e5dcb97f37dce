"""Do again only what failed: a batch runs out of time with most of its lines undone, and a second one does those."""

import json
import os
from pathlib import Path

from raincheck import Raincheck


def main() -> None:
    client = Raincheck()
    prompts = {"fruit": "Name a fruit.", "colour": "Name a colour.", "river": "Name a river."}

    def ask(names: list[str], max_tokens: int) -> dict[str, str | None]:
        """The answers by name; None where there is none."""
        run = client.batches.run(
            [prompts[name] for name in names],
            model=os.environ.get("RAINCHECK_MODEL", "smollm2-135m"),
            custom_ids=names,
            params={"max_tokens": max_tokens},
        )
        for number, result in enumerate(run, 1):
            outcome = "completed" if result.error is None else result.error.message
            print(f"{number} of {run.counts.total}: {result.custom_id} {outcome}")
            if len(names) > 1:
                run.cancel()  # as an impatient operator would
        files = client.batches.download(run.id)
        print(f"output: {files.output}, errors: {files.errors}")
        failed = [] if files.errors is None else Path(files.errors).read_text().splitlines()
        answers = {} if files.output is None else texts(files.output)
        return answers | {json.loads(line)["custom_id"]: None for line in failed}

    answers = ask(list(prompts), max_tokens=40)
    failed = [name for name in prompts if answers[name] is None]
    for name in failed:
        answers |= ask([name], max_tokens=12)
    print(answers)

    # On the command line, with the merging done:
    #   raincheck batch run in.jsonl -o out.jsonl
    #   raincheck batch run in.jsonl -o out.jsonl --retry-failed out.errors.jsonl


def texts(output: Path) -> dict[str, str | None]:
    results = [json.loads(line) for line in output.read_text().splitlines()]
    return {each["custom_id"]: each["response"]["body"]["choices"][0]["message"]["content"] for each in results}


if __name__ == "__main__":
    main()
