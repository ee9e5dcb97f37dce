"""Name a URL that shall hear of the end. It is kept with the request; see docs for when it is called."""

from raincheck import Raincheck

client = Raincheck()

response = client.videos.generate(
    model="grok-video",
    prompt="A rocket launching",
    webhook_url="https://your-server.com/webhook",
    duration=1,
)
print(response.id, response.status)
