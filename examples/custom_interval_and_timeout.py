"""How long to wait in all, and how often to ask a server that cannot tell by itself when a result is there."""

import os

from raincheck import Raincheck


def main() -> None:
    client = Raincheck()

    response = client.chat.completions.create_and_wait(
        model=os.environ.get("RAINCHECK_MODEL", "smollm2-135m"),
        messages=[{"role": "user", "content": "Summarize the history of computing."}],
        max_tokens=100,
        polling_interval=10,  # seconds; a Raincheck server answers at once all the same
        timeout=300,
    )

    print(response.choices[0].message.content)


if __name__ == "__main__":
    main()
