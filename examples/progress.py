"""Watch a request: a bar in the terminal, a call for every move, and the answer as it is written."""

import os

from raincheck import Raincheck


def main() -> None:
    client = Raincheck()
    model = os.environ.get("RAINCHECK_MODEL", "smollm2-135m")

    # A bar with position, progress and time left, drawn only in a terminal; on_update gets every move.
    response = client.chat.completions.create_and_wait(
        model=model,
        messages=[{"role": "user", "content": "Name the planets."}],
        max_tokens=60,
        progress=True,
        on_update=lambda request: print(f"  {request}"),
    )
    print(response.choices[0].message.content)

    # Or follow the events until the end.
    ticket = client.chat.completions.defer(
        model=model, messages=[{"role": "user", "content": "Name the oceans."}], max_tokens=60
    )
    for event in ticket.events():
        if event.type == "status":
            print(f"[{event.data['status']}]")
        else:
            print(event.text, end="", flush=True)


if __name__ == "__main__":
    main()
