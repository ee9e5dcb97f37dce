"""Several videos at once: with the blocking client as it stands in older code, and with the async one."""

import asyncio

from raincheck import AsyncRaincheck, Raincheck


async def generate_video_async(client: Raincheck, prompt: str) -> str:
    response = client.videos.generate(
        model="grok-video",
        prompt=prompt,
        duration=1,
    )
    request_id = response.id

    while True:
        result = client.videos.retrieve(request_id)
        if result.status == "completed":
            return result.data[0].url
        elif result.status == "failed":
            raise Exception(f"Failed: {result.error}")
        await asyncio.sleep(5)


# Run multiple generations concurrently
async def main(client: Raincheck) -> list[str]:
    prompts = ["Sunset", "Sunrise", "Storm"]
    tasks = [generate_video_async(client, p) for p in prompts]
    results = await asyncio.gather(*tasks)
    return results  # noqa: RET504


# The same with the client that never blocks the loop and needs no polling of its own
async def with_the_async_client() -> list[str | None]:
    async with AsyncRaincheck() as client:
        videos = await asyncio.gather(
            *(
                client.videos.generate(model="grok-video", prompt=prompt, duration=1, wait_for_completion=True)
                for prompt in ("Sunset", "Sunrise", "Storm")
            )
        )
    return [video.url for video in videos]


if __name__ == "__main__":
    print(asyncio.run(main(Raincheck())))
    print(asyncio.run(with_the_async_client()))
