"""Receive webhooks with FastAPI: verify, answer at once, work afterwards, and once per event.

    pip install raincheck fastapi uvicorn
    RAINCHECK_WEBHOOK_SECRET=whsec_… python receive_fastapi.py

It takes the secret of an endpoint, or for webhook_urls the one that `raincheck webhooks secret` prints.
"""

import os

import uvicorn
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request

from raincheck import webhooks

SECRET = os.environ["RAINCHECK_WEBHOOK_SECRET"]
seen = webhooks.Seen()  # With several processes: a unique column in your database.
app = FastAPI()


@app.post("/webhook", status_code=204)
async def receive(request: Request, later: BackgroundTasks) -> None:
    try:
        event = webhooks.verify(await request.body(), request.headers, SECRET)
    except webhooks.WebhookError as error:
        raise HTTPException(400, str(error)) from None
    if event.id not in seen:  # What was sent twice is answered like the first, or it comes again.
        seen.add(event.id)
        later.add_task(handle, event)


def handle(event: webhooks.Event) -> None:
    print(event.type, event.data.id, event.data.status, flush=True)


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), log_level="warning")
