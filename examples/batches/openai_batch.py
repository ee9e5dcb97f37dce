"""OpenAI's batch guide with the plain openai client: upload, create, poll, download. Only the base URL differs."""

import json
import os
import time

from openai import OpenAI


def main(interval: float = 0.5) -> None:
    base_url = os.environ.get("RAINCHECK_BASE_URL", "http://127.0.0.1:8421").rstrip("/").removesuffix("/v1")
    client = OpenAI(base_url=f"{base_url}/v1", api_key=os.environ.get("RAINCHECK_API_KEY", "no-key"))
    model = os.environ.get("RAINCHECK_MODEL", "smollm2-135m")

    # Step 1: prepare the file, one request on each line
    lines = [
        {
            "custom_id": f"request-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 12},
        }
        for number, prompt in enumerate(["Name a fruit.", "Name a colour.", "Name a river."], 1)
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()

    # Step 2: upload it and create the batch
    uploaded = client.files.create(file=("batchinput.jsonl", content), purpose="batch")
    batch = client.batches.create(
        input_file_id=uploaded.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"description": "an example"},
    )
    print(f"Batch: {batch.id}")

    # Step 3: poll until it has ended
    while batch.status in ("validating", "in_progress", "finalizing", "cancelling"):
        time.sleep(interval)
        batch = client.batches.retrieve(batch.id)
        print(f"Status: {batch.status}")

    # Step 4: read the output file
    if batch.output_file_id is not None:
        for line in client.files.content(batch.output_file_id).text.splitlines():
            result = json.loads(line)
            print(result["custom_id"], result["response"]["body"]["choices"][0]["message"]["content"])


if __name__ == "__main__":
    main()
