"""Cancel a request: a pending one is never sent to the model, a running one is stopped."""

import os

from raincheck import Raincheck, RequestCancelled


def main() -> None:
    client = Raincheck()

    ticket = client.chat.completions.defer(
        model=os.environ.get("RAINCHECK_MODEL", "smollm2-135m"),
        messages=[{"role": "user", "content": "Count to ten thousand, one number per line."}],
        max_tokens=1500,
    )
    print(f"Submitted: {ticket.request}")

    ticket.cancel()
    print(f"After the cancel: {ticket.request}")

    try:
        response = ticket.wait()
    except RequestCancelled as error:
        print(error)
    else:
        print(f"It was done before the cancel came: {response.choices[0].message.content}")


if __name__ == "__main__":
    main()
