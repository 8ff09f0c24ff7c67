"""Opens and closes streams in a process of its own, and prints what that leaves behind, as JSON."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
from pathlib import Path

from google.protobuf.wrappers_pb2 import StringValue

from cloudstate_core.clock import SystemClock
from cloudstate_runtime.function.grpc_link import GrpcStream, open_grpc_link
from runtime_doubles.functions import TALK, serving

AT_ONCE = 50


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def live(*kinds: type) -> int:
    gc.collect()
    return sum(isinstance(each, kinds) for each in gc.get_objects())


async def measure(streams: int) -> dict[str, object]:
    kept: list[object] = []
    async with (
        serving() as function,
        open_grpc_link(
            function.address, SystemClock(), max_message_bytes=1 << 20, close_timeout_s=2.0
        ) as link,
    ):
        message = StringValue(value="a")

        async def use(count: int) -> None:
            for _ in range(count):
                stream = link.open_stream(TALK)
                await stream.ask(message, 30.0)
                await stream.aclose()
                if "leak" in sys.argv:
                    kept.append(bytearray(5_000))

        async def use_many(count: int) -> int:
            await asyncio.gather(*(use(count // AT_ONCE) for _ in range(AT_ONCE)))
            gc.collect()
            return resident_bytes()

        await use_many(streams // 5)
        before = live(GrpcStream, asyncio.Task)
        sizes = [await use_many(streams // 4) for _ in range(5)]
        return {
            "sizes": sizes,
            "objects": live(GrpcStream, asyncio.Task) - before,
            "open_in_the_function": function.open_streams,
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(int(sys.argv[1])))))
