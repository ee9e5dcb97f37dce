"""Let the SDK wait: one call, and the video is there when it returns."""

from raincheck import Raincheck

client = Raincheck()

# SDK handles polling
response = client.videos.generate(
    model="grok-video",
    prompt="A sunset over mountains",
    wait_for_completion=True,  # SDK polls until done
)

# Result is ready
video_url = response.data[0].url
print(f"Video URL: {video_url}")
