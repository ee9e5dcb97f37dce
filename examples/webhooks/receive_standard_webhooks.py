"""Receive webhooks with nothing of Raincheck's: the Standard Webhooks library verifies them as they are.

    pip install standardwebhooks
    RAINCHECK_WEBHOOK_SECRET=whsec_… python receive_standard_webhooks.py

It takes the secret of an endpoint, or for webhook_urls the one that `raincheck webhooks secret` prints.
"""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["RAINCHECK_WEBHOOK_SECRET"])
seen: set[str] = set()  # With several processes: a unique column in your database.


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = webhook.verify(body, dict(self.headers.items()))
        except WebhookVerificationError as error:
            self.send_error(400, str(error))
            return
        self.send_response(204)
        self.end_headers()
        if self.headers["webhook-id"] not in seen:
            seen.add(self.headers["webhook-id"])
            print(event["type"], event["data"]["id"], event["data"]["status"], flush=True)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Receiver).serve_forever()
