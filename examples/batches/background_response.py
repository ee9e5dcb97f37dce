"""OpenAI's background mode with the plain openai client: create, poll, and take up a stream that was cut off."""

import os
import time

from openai import OpenAI


def main(interval: float = 0.5) -> None:
    base_url = os.environ.get("RAINCHECK_BASE_URL", "http://127.0.0.1:8421").rstrip("/").removesuffix("/v1")
    client = OpenAI(base_url=f"{base_url}/v1", api_key=os.environ.get("RAINCHECK_API_KEY", "no-key"))
    model = os.environ.get("RAINCHECK_MODEL", "smollm2-135m")

    # Create it, and poll
    response = client.responses.create(
        model=model, input="Write a very short poem about rain.", background=True, max_output_tokens=40
    )
    while response.status in ("queued", "in_progress"):
        print(f"Status: {response.status}")
        time.sleep(interval)
        response = client.responses.retrieve(response.id)
    print(f"{response.status}: {response.output_text}")

    # Stream it, and let go in the middle
    response_id, cursor, told = "", 0, 0
    with client.responses.create(
        model=model, input="Name the planets.", background=True, stream=True, max_output_tokens=40
    ) as stream:
        for event in stream:
            cursor = event.sequence_number
            if event.type == "response.created":
                response_id = event.response.id
            elif event.type == "response.output_text.delta":
                print(event.delta, end="", flush=True)
                told += 1
            if told == 3:
                break

    # It goes on without us; come back behind the last event that was seen
    for event in client.responses.retrieve(response_id, stream=True, starting_after=cursor):
        if event.type == "response.output_text.delta":
            print(event.delta, end="", flush=True)
    print()


if __name__ == "__main__":
    main()
