"""Receive webhooks as you would receive OpenAI's: the plain openai client unwraps them into its typed events.

    pip install openai
    RAINCHECK_WEBHOOK_SECRET=whsec_… python receive_openai.py

It takes the secret of an endpoint, or for webhook_urls the one that `raincheck webhooks secret` prints.
"""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from openai import InvalidWebhookSignatureError, OpenAI

client = OpenAI(webhook_secret=os.environ["RAINCHECK_WEBHOOK_SECRET"], api_key="calls nobody")
seen: set[str] = set()  # With several processes: a unique column in your database.


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            # Any, as Raincheck has events that OpenAI has no class for, such as chat.completion.completed.
            event: Any = client.webhooks.unwrap(body, dict(self.headers.items()))
        except (InvalidWebhookSignatureError, ValueError) as error:
            self.send_error(400, str(error))
            return
        self.send_response(204)
        self.end_headers()
        if event.id not in seen:
            seen.add(event.id)
            print(event.type, event.data.id, event.data.status, flush=True)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Receiver).serve_forever()
