"""What to do when a video fails or takes too long, and how to call it off."""

import time

from raincheck import Raincheck, Video

client = Raincheck()


def wait_for_completion(client: Raincheck, request_id: str, timeout: float = 300, interval: float = 0.5) -> Video:
    start_time = time.time()
    while time.time() - start_time < timeout:
        result = client.videos.retrieve(request_id)
        if result.status == "completed":
            return result
        elif result.status == "failed":
            raise Exception(f"Request failed: {result.error}")
        time.sleep(interval)
    raise Exception("Request timed out")


def handle_deferred_request(client: Raincheck, request_id: str, timeout: float = 300) -> str | None:
    try:
        result = wait_for_completion(client, request_id, timeout)
        return result.data[0].url

    except Exception as e:
        if "timed out" in str(e):
            # Request is still processing
            print("Request is taking longer than expected")
            print(f"Check status later with ID: {request_id}")
        elif "failed" in str(e):
            # Request failed
            print(f"Request failed: {e}")
        else:
            raise
    return None


# One that works, one that the renderer cannot make sense of, and one that nobody waits for long enough.
good = client.videos.generate(model="grok-video", prompt="A boat on the ocean", duration=1)
print(handle_deferred_request(client, good.id))

odd = client.videos.edit(model="grok-video", video=good.id, prompt="make it taste of strawberries")
handle_deferred_request(client, odd.id)

slow = client.videos.generate(model="grok-video", prompt="A long night under the stars", duration=60)
handle_deferred_request(client, slow.id, timeout=1)

# For long-running requests, you may be able to cancel:
print(client.videos.cancel(slow.id).status)
