"""Follow runs from Python, over one connection that stays: nothing is missed, whatever happens to the network."""

import asyncio
import sys

from gateway import Viewer


async def main(run_id: str) -> None:
    async with Viewer() as viewer:  # RUNCAST_URL and RUNCAST_TOKEN, or what `runcast dev` left here
        async for run in viewer.run(run_id):
            print(run.status, run.metadata.get("progress"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
