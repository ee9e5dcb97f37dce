"""A batch in xAI's manner: opened by name, filled by several calls, listened to when it is done."""

import asyncio
import os

from raincheck import AsyncRaincheck


async def tell() -> None:
    async with AsyncRaincheck() as client:
        batch = await client.batches.open(
            "an example", model=os.environ.get("RAINCHECK_MODEL", "smollm2-135m"), params={"max_tokens": 12}
        )
        await batch.add(["Name a fruit.", "Name a colour."])
        await batch.add([{"custom_id": "river", "body": {"messages": [{"role": "user", "content": "Name a river."}]}}])

        await batch.wait(polling_interval=1.0)
        print(f"{batch.state.num_success} of {batch.state.num_requests} succeeded")
        async for result in batch.results():
            print(f"{result.custom_id}: {result.text}")


def main() -> None:
    asyncio.run(tell())


if __name__ == "__main__":
    main()
