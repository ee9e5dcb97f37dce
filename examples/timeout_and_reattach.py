"""A timeout ends the waiting, not the work: keep the id, and collect the result later, from anywhere."""

import os

from raincheck import Raincheck, RequestFailed, WaitTimeout


def main(timeout: float = 0.05) -> None:
    client = Raincheck()

    try:
        response = client.chat.completions.create_and_wait(
            model=os.environ.get("RAINCHECK_MODEL", "smollm2-135m"),
            messages=[{"role": "user", "content": "Write a short story about rain."}],
            max_tokens=100,
            timeout=timeout,
        )
    except WaitTimeout as error:
        print("Request is taking longer than expected")
        print(f"Check status later with ID: {error.request_id}")
        response = client.requests.wait(error.request_id)
    except RequestFailed as error:
        print(f"Request failed: {error}")
        return

    print(response.choices[0].message.content)


if __name__ == "__main__":
    main()
