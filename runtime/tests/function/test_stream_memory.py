"""Streams that are closed leave nothing behind, neither here nor in the user function."""

from __future__ import annotations

import asyncio
import gc
import resource
from pathlib import Path

from google.protobuf.wrappers_pb2 import StringValue
from runtime_doubles.functions import TALK, serving

from cloudstate_core.clock import SystemClock
from cloudstate_runtime.function.grpc_link import GrpcStream, open_grpc_link

STREAMS = 10_000
WARM_UP = 2_000
AT_ONCE = 50

#: 5 MB for 100,000 streams is the promise; both ends of the stream are in this process.
MAX_GROWTH_BYTES = 2 * 5_000_000 * STREAMS // 100_000


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def live(*kinds: type) -> int:
    gc.collect()
    return sum(isinstance(each, kinds) for each in gc.get_objects())


async def test_ten_thousand_streams_leave_nothing_behind() -> None:
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

        async def use_many(count: int) -> int:
            await asyncio.gather(*(use(count // AT_ONCE) for _ in range(AT_ONCE)))
            gc.collect()
            return resident_bytes()

        await use_many(WARM_UP)
        kept = live(GrpcStream, asyncio.Task)
        sizes = [await use_many(STREAMS // 4) for _ in range(5)]

        assert live(GrpcStream, asyncio.Task) <= kept
        assert function.open_streams == 0
        # The allocator takes and gives back memory in leaps, so two sizes stand for each end.
        growth = (min(sizes[3:]) - min(sizes[:2])) * 4 // 3
        assert growth <= MAX_GROWTH_BYTES, sizes
        print(f"PROMISE P11 stream_growth_bytes={growth} target={MAX_GROWTH_BYTES} ok")
