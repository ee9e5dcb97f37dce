"""Let the server call you when a video is ready, instead of asking it again and again.

The receiver is this program itself, and a server calls its own machine only where that is allowed: run the server with
--config examples/raincheck.toml, or with RAINCHECK_WEBHOOKS_ALLOW=127.0.0.1. Programs that receive for good are in
examples/webhooks/.
"""

from raincheck import Raincheck

client = Raincheck()

with client.webhooks.listen() as your_server:
    response = client.videos.generate(
        model="grok-video",
        prompt="A rocket launching",
        webhook_url=your_server.url,
        duration=1,
    )
    print(response.id, response.status)

    # Your server receives a POST when the request completes.
    event = your_server.wait(id=response.id, timeout=60)
    print(event.type, event.data.id, event.data.status)
