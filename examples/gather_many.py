"""Many requests at once: submit them all, let the server queue them, gather the answers."""

import asyncio
import os

from raincheck import AsyncRaincheck


async def ask(client: AsyncRaincheck, prompt: str) -> str | None:
    response = await client.chat.completions.create_and_wait(
        model=os.environ.get("RAINCHECK_MODEL", "smollm2-135m"),
        messages=[{"role": "user", "content": f"Describe a {prompt} in one sentence."}],
        max_tokens=50,
    )
    return response.choices[0].message.content


async def gather() -> None:
    prompts = ["sunset", "sunrise", "storm"]
    async with AsyncRaincheck() as client:
        results = await asyncio.gather(*(ask(client, prompt) for prompt in prompts))
    for prompt, result in zip(prompts, results, strict=True):
        print(f"{prompt}: {result}")


def main() -> None:
    asyncio.run(gather())


if __name__ == "__main__":
    main()
