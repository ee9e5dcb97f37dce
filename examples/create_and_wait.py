"""Quick start: one call submits the request, waits, and returns the completion."""

import os

from raincheck import Raincheck


def main() -> None:
    client = Raincheck()  # RAINCHECK_BASE_URL, RAINCHECK_API_KEY

    # Submits and waits: the answer is here the moment it is ready.
    response = client.chat.completions.create_and_wait(
        model=os.environ.get("RAINCHECK_MODEL", "smollm2-135m"),
        messages=[{"role": "user", "content": "Explain what a quasar is in two sentences."}],
    )

    print(response.choices[0].message.content)


if __name__ == "__main__":
    main()
