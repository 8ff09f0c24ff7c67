"""P9: a server that is told to stop finishes what it has begun, and refuses the rest cleanly."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import grpc.aio
import pytest
from kill_loop import EXAMPLE, Acknowledged, cloudstate_run, judge, running

CLIENTS = 16
DRAIN_TARGET_S = 3.0


@pytest.fixture(autouse=True)
def _example_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))


@pytest.mark.timeout(120)
async def test_sigterm_under_load_ends_with_success_and_no_command_half_done(
    tmp_path: Path,
) -> None:
    acknowledged = Acknowledged()
    refusals: set[grpc.StatusCode] = set()
    loop = asyncio.get_running_loop()
    async with running(cloudstate_run(tmp_path / "data")) as (process, port):
        clients = [
            asyncio.create_task(_until_refused(port, number, acknowledged, refusals))
            for number in range(CLIENTS)
        ]
        while acknowledged.count() < CLIENTS * 20:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        told_s = loop.time()
        exit_code = await process.wait()
        took_s = loop.time() - told_s
        await asyncio.gather(*clients)
    verdict = await judge(acknowledged, tmp_path / "data")

    print(
        f"PROMISE P9 acknowledged={verdict.acknowledged} acked_lost={len(verdict.lost)} "
        f"exit_code={exit_code} drain_s={took_s:.2f} target=0/0/{DRAIN_TARGET_S:g} "
        f"{'ok' if verdict.is_clean() and exit_code == 0 else 'FAIL'}"
    )
    assert exit_code == 0
    assert verdict.is_clean(), verdict
    # Whoever came too late can try elsewhere: nothing of it was begun.
    assert refusals <= {grpc.StatusCode.UNAVAILABLE}
    assert verdict.stored == verdict.acknowledged


async def _until_refused(
    port: int, number: int, acknowledged: Acknowledged, refusals: set[grpc.StatusCode]
) -> None:
    from shoppingcart.shoppingcart_pb2 import AddLineItem  # path set by a fixture
    from shoppingcart.shoppingcart_pb2_grpc import ShoppingCartStub

    user, count = f"user-{number}", 0
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        cart = ShoppingCartStub(channel)
        while True:
            count += 1
            product = f"{number}-{count}"
            try:
                await cart.AddItem(
                    AddLineItem(user_id=user, product_id=product, name=product, quantity=1)
                )
            except grpc.aio.AioRpcError as error:
                refusals.add(error.code())
                return
            acknowledged.add(user, product)
