"""Full control: submit, then ask for the result yourself as often as you like."""

import os
import time

from raincheck import Raincheck


def main(interval: float = 1.0) -> None:
    client = Raincheck()

    # Step 1: submit the deferred request
    ticket = client.chat.completions.defer(
        model=os.environ.get("RAINCHECK_MODEL", "smollm2-135m"),
        messages=[{"role": "user", "content": "Write a detailed analysis of renewable energy trends."}],
        max_tokens=100,
    )
    print(f"Submitted deferred request: {ticket.id}")

    # Step 2: poll for the result
    while True:
        time.sleep(interval)

        result = client.chat.completions.retrieve_deferred(ticket.id)

        if result is not None:
            print(result.choices[0].message.content)
            break

        print("Still processing...")


if __name__ == "__main__":
    main()
