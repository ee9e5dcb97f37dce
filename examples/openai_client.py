"""The same polling with the plain openai client, which knows nothing of Raincheck: two lines differ."""

import os
import time

from openai import OpenAI
from openai.types.chat import ChatCompletion


def main(interval: float = 1.0) -> None:
    base_url = os.environ.get("RAINCHECK_BASE_URL", "http://127.0.0.1:8421").rstrip("/").removesuffix("/v1")
    client = OpenAI(base_url=f"{base_url}/v1", api_key=os.environ.get("RAINCHECK_API_KEY", "no-key"))

    # Step 1: submit the deferred request
    submitted = client.chat.completions.create(
        model=os.environ.get("RAINCHECK_MODEL", "smollm2-135m"),
        messages=[{"role": "user", "content": "Write a detailed analysis of renewable energy trends."}],
        max_tokens=100,
        extra_body={"deferred": True},
    )
    print(f"Submitted deferred request: {submitted.id}")

    # Step 2: poll for the result
    while True:
        time.sleep(interval)

        result = client.get(f"/chat/deferred-completion/{submitted.id}", cast_to=ChatCompletion)

        if result.choices:
            print(result.choices[0].message.content)
            break

        print("Still processing...")


if __name__ == "__main__":
    main()
