"""Receive webhooks with Flask: verify, answer at once, work afterwards, and once per event.

    pip install raincheck flask
    RAINCHECK_WEBHOOK_SECRET=whsec_… python receive_flask.py

It takes the secret of an endpoint, or for webhook_urls the one that `raincheck webhooks secret` prints.
"""

import os
from concurrent.futures import ThreadPoolExecutor

from flask import Flask, request

from raincheck import webhooks

SECRET = os.environ["RAINCHECK_WEBHOOK_SECRET"]
seen = webhooks.Seen()  # With several processes: a unique column in your database.
later = ThreadPoolExecutor()
app = Flask(__name__)


@app.post("/webhook")
def receive() -> tuple[str, int]:
    try:
        event = webhooks.verify(request.get_data(), request.headers, SECRET)
    except webhooks.WebhookError as error:
        return str(error), 400
    if event.id not in seen:  # What was sent twice is answered like the first, or it comes again.
        seen.add(event.id)
        later.submit(handle, event)
    return "", 204


def handle(event: webhooks.Event) -> None:
    print(event.type, event.data.id, event.data.status, flush=True)


if __name__ == "__main__":
    app.run(port=int(os.environ.get("PORT", "8000")))
