"""Start a video, keep its id, and poll until it is there.

Needs a server that serves `grok-video`, such as `raincheck serve --config examples/raincheck.toml`.
"""

import time

from raincheck import Raincheck, Video

client = Raincheck()  # RAINCHECK_BASE_URL, RAINCHECK_API_KEY

# Start generation
response = client.videos.generate(
    model="grok-video",
    prompt="A rocket launching into space",
)

request_id = response.id
print(f"Request ID: {request_id}")
print(f"Status: {response.status}")


def wait_for_completion(client: Raincheck, request_id: str, timeout: float = 300, interval: float = 5) -> Video:
    start_time = time.time()
    while time.time() - start_time < timeout:
        result = client.videos.retrieve(request_id)

        if result.status == "completed":
            return result
        elif result.status == "failed":
            raise Exception(f"Request failed: {result.error}")

        print(f"Status: {result.status}")
        time.sleep(interval)

    raise Exception("Request timed out")


# Wait for completion
result = wait_for_completion(client, request_id)
video_url = result.data[0].url
print(f"Video URL: {video_url}")
