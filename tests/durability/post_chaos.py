"""Clients that send letters through a server that is killed again and again, and the judgement.

A client sends each letter until it has an answer, always under the same key; now and then it hangs
up at once, so that an answer is lost on its way.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import grpc.aio
from kill_loop import running
from post_office import RECEIVER, SENDER, Letter

from cloudstate_core.clock import SystemClock
from cloudstate_core.store import SLICES, EntityKey
from cloudstate_sqlite.plugin import SqliteBackend

HERE = Path(__file__).resolve().parent

SENDERS = tuple(f"sender-{number}" for number in range(6))
RECEIVERS = tuple(f"receiver-{number}" for number in range(4))

#: How often a client hangs up without waiting for the answer.
_HANGS_UP = 0.1

_CALL_TIMEOUT_S = 5.0
_QUIET_TIMEOUT_S = 60.0


@dataclass
class Sent:
    """What the clients know.

    Attributes:
        acknowledged: For each key, the answers that came.
        hung_up: How often a client did not wait for an answer.
        refused: How often there was an error instead.
        kills: How often the server was killed.
    """

    acknowledged: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    hung_up: int = 0
    refused: int = 0
    kills: int = 0


@dataclass(frozen=True)
class Judged:
    """What became of the letters; each list names those that went wrong.

    Attributes:
        stored: How many letters were sent, according to the senders.
        lost: Answered, and not stored; or stored, and never received.
        doubled: Stored or received twice.
        out_of_order: Received before one that the same sender had sent the same receiver earlier.
        changed: Answered differently when sent again.
        waiting: Messages that are still in the outbox.
    """

    stored: int
    lost: list[str]
    doubled: list[str]
    out_of_order: list[str]
    changed: list[str]
    waiting: int

    def is_clean(self) -> bool:
        """Return whether every promise was kept."""
        return not (self.lost or self.doubled or self.out_of_order or self.changed or self.waiting)


async def send_through_kills(
    command: Sequence[str], *, kills: int, every_s: float, clients: int, seed: int
) -> Sent:
    """Run clients against a server that is killed every few seconds; end with it quiet."""
    sent, port = Sent(), asyncio.Future[int]()
    stopping = asyncio.Event()
    ports: list[asyncio.Future[int]] = [port]
    tasks = [
        asyncio.create_task(_client(f"c{number}", Random(seed + number), ports, sent, stopping))
        for number in range(clients)
    ]
    for _ in range(kills):
        async with running(command, HERE) as (_, port_number):
            ports[-1].set_result(port_number)
            await asyncio.wait(tasks, timeout=every_s)
            ports.append(asyncio.Future())
        sent.kills += 1
    async with running(command, HERE) as (_, port_number):
        ports[-1].set_result(port_number)
        stopping.set()
        await asyncio.gather(*tasks)
        await _until_quiet(port_number)
    return sent


async def judge(sent: Sent, data_dir: Path) -> Judged:
    """Compare what clients, senders and receivers know."""
    backend = SqliteBackend()
    async with backend.open(backend.settings_type(), data_dir, SystemClock()) as store:
        by_sender = {each: await _letters(store, SENDER, each) for each in SENDERS}
        by_receiver = {each: await _letters(store, RECEIVER, each) for each in RECEIVERS}
        waiting = len(await store.outbox(range(SLICES), limit=1_000))
    stored = Counter(letter.key for letters in by_sender.values() for letter in letters)
    received = Counter(letter.key for letters in by_receiver.values() for letter in letters)
    return Judged(
        stored=sum(stored.values()),
        lost=[key for key in sent.acknowledged if not stored[key]]
        + [key for key in stored if not received[key]],
        doubled=[key for counts in (stored, received) for key in counts if counts[key] > 1],
        out_of_order=_inversions(by_receiver),
        changed=[key for key, replies in sent.acknowledged.items() if len(set(replies)) > 1],
        waiting=waiting,
    )


def _inversions(by_receiver):
    found = []
    for receiver, letters in by_receiver.items():
        last: dict[str, int] = {}
        for letter in letters:
            if letter.number < last.get(letter.sender, 0):
                found.append(f"{letter.sender} to {receiver}: {letter.number}")
            last[letter.sender] = letter.number
    return found


async def _letters(store, service: str, entity_id: str):
    found: list = []
    while page := await store.events(EntityKey(service, entity_id), after=len(found), limit=1000):
        found += page
    return [Letter.FromString(event.payload.value) for event in found]


async def _client(name: str, random: Random, ports, sent: Sent, stopping: asyncio.Event) -> None:
    number = 0
    while not stopping.is_set():
        number += 1
        key = f"{name}-{number}"
        letter = Letter(id=random.choice(SENDERS), to=random.choice(RECEIVERS), key=key)
        while not await _send(letter, key, random, ports, sent):
            sent.refused += 1
        if random.random() < _HANGS_UP:  # the answer was lost, for all the client knows
            await _send(letter, key, random, ports, sent)


async def _send(letter, key: str, random: Random, ports, sent: Sent) -> bool:
    """Send a letter once; return whether there was an answer."""
    port = await asyncio.shield(ports[-1])
    hangs_up = random.random() < _HANGS_UP
    timeout_s = random.uniform(0.0, 0.02) if hangs_up else _CALL_TIMEOUT_S
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        try:
            reply = await channel.unary_unary(f"/{SENDER}/Send")(
                letter.SerializeToString(), timeout=timeout_s, metadata=[("idempotency-key", key)]
            )
        except grpc.aio.AioRpcError:
            sent.hung_up += hangs_up
            return False
    sent.acknowledged[key].append(reply)
    return True


async def _until_quiet(port: int) -> None:
    """Return when no more letters arrive, or it takes too long: then the judgement will tell."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        count = channel.unary_unary(f"/{RECEIVER}/Count")
        before, unchanged = -1, 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_TIMEOUT_S):
                while unchanged < 10:
                    replies = [
                        await count(Letter(id=each).SerializeToString(), timeout=_CALL_TIMEOUT_S)
                        for each in RECEIVERS
                    ]
                    now = sum(Letter.FromString(reply).number for reply in replies)
                    unchanged = unchanged + 1 if now == before else 0
                    before = now
                    await asyncio.sleep(0.1)
