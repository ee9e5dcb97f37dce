"""Receive webhooks with Django, in a single file: verify, answer at once, work afterwards, and once per event.

    pip install raincheck django
    RAINCHECK_WEBHOOK_SECRET=whsec_… python receive_django.py

It takes the secret of an endpoint, or for webhook_urls the one that `raincheck webhooks secret` prints.
"""
# pyright: basic
# Django comes without types.

import os
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from raincheck import webhooks

SECRET = os.environ["RAINCHECK_WEBHOOK_SECRET"]
seen = webhooks.Seen()  # With several processes: a unique column in your database.
later = ThreadPoolExecutor()


@csrf_exempt  # The signature says who sent it.
@require_POST
def receive(request: HttpRequest) -> HttpResponse:
    try:
        event = webhooks.verify(request.body, request.META, SECRET)
    except webhooks.WebhookError as error:
        return HttpResponse(str(error).encode(), status=400)
    if event.id not in seen:  # What was sent twice is answered like the first, or it comes again.
        seen.add(event.id)
        later.submit(handle, event)
    return HttpResponse(status=204)


def handle(event: webhooks.Event) -> None:
    print(event.type, event.data.id, event.data.status, flush=True)


urlpatterns = [path("webhook", receive)]

if __name__ == "__main__":
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
    port = os.environ.get("PORT", "8000")
    execute_from_command_line(["receive_django.py", "runserver", "--noreload", port])
