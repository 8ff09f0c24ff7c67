"""A careless bank: what handlers and clients get wrong, through both front doors, over both links.

Whatever it is, somebody is told of it by name, nothing of it is stored, and the next command finds
everything as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import grpc
import httpx
import pytest
import structlog
from bank.accounts_pb2 import _ACCOUNT as ACCOUNT
from bank.accounts_pb2 import AccountBalance, GetAccountBalance, OpenAccount, WithdrawMoney
from bank.accounts_pb2_grpc import AccountStub
from bank.bank_pb2 import _BANK as BANK
from bank.bank_pb2 import ReportLine, ReportRequest
from bank.bank_pb2_grpc import BankStub
from bank.domain_pb2 import Deposited, Opened
from bank.transfers_pb2 import _TRANSFER as TRANSFER
from bank.transfers_pb2 import GetTransferStatus, TransferOrder, TransferStatus
from bank.transfers_pb2_grpc import TransferStub
from google.protobuf.empty_pb2 import Empty

from cloudstate_action.context import ActionContext
from cloudstate_action.entity import Action
from cloudstate_core.clock import SystemClock
from cloudstate_core.host.local_link import LocalLink
from cloudstate_core.host.server import open_server
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.plugins import load_plugins
from cloudstate_core.settings import HostSettings
from cloudstate_core.store import SLICES, StateStore
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_eventsourced.context import EventSourcedCommandContext
from cloudstate_eventsourced.entity import EventSourcedEntity
from cloudstate_kv.context import ValueEntityCommandContext
from cloudstate_kv.entity import ValueEntity
from cloudstate_runtime.frontend.grpc import GrpcFrontEnd
from cloudstate_runtime.frontend.http import HttpFrontEnd
from cloudstate_runtime.frontend.port import open_port
from cloudstate_runtime.function.grpc_link import open_grpc_link
from cloudstate_runtime.runtime import open_runtime
from cloudstate_runtime.settings import RuntimeSettings

PLUGINS = load_plugins()


def careless_account() -> EventSourcedEntity:
    """An account whose owner's name says what goes wrong when it is opened."""
    entity = EventSourcedEntity(ACCOUNT, init_state=dict)

    @entity.event_handler(Opened)
    def opened(state: dict, event: Opened) -> None:
        state["owner"] = event.owner

    @entity.command_handler("Open")
    def open_account(command: OpenAccount, ctx: EventSourcedCommandContext) -> object:
        ctx.emit(Opened(owner=command.owner))
        match command.owner:
            case "an effect on nobody":
                ctx.effect("no.Such", "Pay", command)
            case "a synchronous effect on nobody":
                ctx.effect("no.Such", "Pay", command, synchronous=True)
            case "a forward to nobody":
                ctx.forward("no.Such", "Pay", command)
                return None
            case "an effect that is no command":
                ctx.effect("com.example.bank.Account", "Close", command)
            case "an effect of another type":
                ctx.effect("com.example.bank.Transfer", "Begin", command)
            case "an effect on no entity":
                ctx.effect("com.example.bank.Transfer", "GetStatus", GetTransferStatus())
            case "a reply of another type":
                return Empty()
            case "a reply that is no message":
                return 7
            case "an event that nobody handles":
                ctx.emit(Deposited(cents=1))
        return AccountBalance(account_id=command.account_id, owner=command.owner)

    @entity.command_handler("Withdraw")
    def withdraw(command: WithdrawMoney, ctx: EventSourcedCommandContext) -> None:
        ctx.forward(ACCOUNT, "Withdraw", command)

    @entity.command_handler("GetBalance")
    def balance(state: dict, command: GetAccountBalance) -> AccountBalance:
        return AccountBalance(account_id=command.account_id, owner=state.get("owner", ""))

    for name in ("Deposit", "Debit", "Credit", "Refund"):
        entity.command_handler(name)(lambda: None)
    return entity


def careless_transfer() -> ValueEntity:
    """A transfer that keeps what it should not."""
    entity = ValueEntity(TRANSFER, state_type=TransferStatus)

    @entity.command_handler("Begin")
    def begin(command: TransferOrder, ctx: ValueEntityCommandContext) -> TransferStatus:
        if command.from_account:
            ctx.update(TransferStatus(transfer_id="half done"))
            ctx.update(Opened(owner="a message of another type"))
        return TransferStatus()

    @entity.command_handler("GetStatus")
    def status(state: TransferStatus | None) -> TransferStatus:
        return state or TransferStatus(reason="there is none")

    for name in ("Debited", "DebitRefused", "Credited", "CreditRefused", "Refunded"):
        entity.command_handler(name)(lambda: None)
    return entity


def endless_counter(ended: list[str]) -> Action:
    """A counter whose report has no end."""
    action = Action(BANK)

    @action.unary_handler("Order")
    def order(command: TransferOrder, ctx: ActionContext) -> None:
        ctx.forward(TRANSFER, "Begin", command)

    @action.stream_out_handler("Report")
    async def report(request: ReportRequest) -> AsyncIterator[ReportLine]:
        try:
            while True:
                yield ReportLine(account_id="joe")
                await asyncio.sleep(0)
        finally:
            ended.append("report")

    return action


class Told:
    """What was logged for the author of the bank."""

    def __init__(self, logged: list[Any]) -> None:
        self._logged = logged

    def __contains__(self, text: str) -> bool:
        return any(text in str(entry) for entry in self._logged)


@dataclass
class Bank:
    """A bank that is served.

    Attributes:
        told: What its author was told.
        ended: Which streams were ended at the handler.
    """

    channel: grpc.aio.Channel
    http: httpx.AsyncClient
    store: StateStore
    told: Told
    ended: list[str]

    async def is_empty(self) -> bool:
        """Return whether nothing is stored: no event, no value, no message."""
        names = (str(ACCOUNT.full_name), str(TRANSFER.full_name))
        keys = [await self.store.keys(name, limit=10) for name in names]
        return not any(keys) and not await self.store.outbox(range(SLICES), limit=10)


@pytest.fixture(params=["local", "grpc"])
async def bank(request: pytest.FixtureRequest) -> AsyncIterator[Bank]:
    """Serves a careless bank over each of the links."""
    async with opened(request.param) as bank:
        yield bank


@asynccontextmanager
async def opened(how: str) -> AsyncIterator[Bank]:
    ended: list[str] = []
    entities = (careless_account(), careless_transfer(), endless_counter(ended))
    function, clock = UserFunction(entities, PLUGINS), SystemClock()
    store = MemoryStore(clock)
    async with AsyncExitStack() as stack:
        link: Any = LocalLink(function, clock)
        if how == "grpc":
            server = await stack.enter_async_context(open_server(function, HostSettings(port=0)))
            link = await stack.enter_async_context(
                open_grpc_link(
                    server.address, clock, max_message_bytes=1 << 20, close_timeout_s=2.0
                )
            )
        runtime = await stack.enter_async_context(
            open_runtime(
                RuntimeSettings(), PLUGINS, store, {"bank": link}, clock=clock, random=Random(1)
            )
        )
        await runtime.wait_until_deployed()
        port = await stack.enter_async_context(
            open_port([GrpcFrontEnd(), HttpFrontEnd()], runtime, "127.0.0.1", 0)
        )
        address = "{}:{}".format(*port.address)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://{address}"))
        with structlog.testing.capture_logs() as logged:
            yield Bank(channel, http, store, Told(logged), ended)


async def refused(call: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, str(caught.value.details())


NOBODY = "Service [no.Such] unknown"


@pytest.mark.parametrize(
    ("owner", "told"),
    [
        ("an effect on nobody", NOBODY),
        ("a synchronous effect on nobody", NOBODY),
        ("a forward to nobody", NOBODY),
        ("an effect that is no command", "does not have a command named: [Close]"),
        ("an effect of another type", "com.example.bank.TransferOrder"),
        ("an effect on no entity", "transfer_id"),
        ("a reply of another type", "expected a reply of type com.example.bank.AccountBalance"),
        ("a reply that is no message", "expected a reply of type com.example.bank.AccountBalance"),
        ("an event that nobody handles", "no event handler for"),
    ],
)
async def test_a_mistake_of_a_handler_is_told_its_author_and_nothing_is_stored(
    bank: Bank, owner: str, told: str
) -> None:
    accounts = AccountStub(bank.channel)

    code, details = await refused(accounts.Open(OpenAccount(account_id="joe", owner=owner)))
    response = await bank.http.post("/accounts/joe", json={"owner": owner})

    assert (code, response.status_code) == ("INTERNAL", 500)
    assert response.json()["message"] == details
    assert "Traceback" not in details
    await until(lambda: told in bank.told)
    assert await bank.is_empty()
    fine = await accounts.Open(OpenAccount(account_id="joe", owner="Joe"))
    assert fine.owner == "Joe"


async def test_a_forward_in_a_circle_comes_to_an_end(bank: Bank) -> None:
    call = AccountStub(bank.channel).Withdraw(WithdrawMoney(account_id="joe"))
    code, details = await refused(call)
    response = await bank.http.post("/accounts/joe/withdraw", json={})

    assert (code, response.status_code) == ("INTERNAL", 500)
    assert details == response.json()["message"]
    assert details == "com.example.bank.Account.Withdraw: its forward leads nowhere"
    await until(lambda: "more than 16 forwards and side effects in a row" in bank.told)
    assert await bank.is_empty()


async def test_a_value_of_another_type_is_refused_and_the_value_is_as_it_was(bank: Bank) -> None:
    order = TransferOrder(transfer_id="t", from_account="joe")

    code, _ = await refused(TransferStub(bank.channel).Begin(order))
    response = await bank.http.post("/transfers/t", json={"from_account": "joe"})

    assert (code, response.status_code) == ("INTERNAL", 500)
    await until(lambda: "com.example.bank.TransferStatus, found" in bank.told)
    assert await bank.is_empty()
    status = await TransferStub(bank.channel).GetStatus(GetTransferStatus(transfer_id="t"))
    assert status.reason == "there is none"


async def test_a_key_of_ten_kilobytes_is_named_and_nothing_is_begun(bank: Bank) -> None:
    key, command = "k" * 10_240, OpenAccount(account_id="joe", owner="Joe")

    call = AccountStub(bank.channel).Open(command, metadata=[("idempotency-key", key)])
    code, details = await refused(call)
    response = await bank.http.post(
        "/accounts/joe", json={"owner": "Joe"}, headers={"Idempotency-Key": key}
    )

    assert (code, response.status_code) == ("INVALID_ARGUMENT", 400)
    assert details == response.json()["message"]
    assert "idempotency key of at most 255 characters, found 10240" in details
    assert await bank.is_empty()


async def test_a_grpc_client_that_cancels_in_the_middle_ends_the_stream(bank: Bank) -> None:
    stream = BankStub(bank.channel).Report(ReportRequest(account_ids=["joe"]))
    await stream.read()

    stream.cancel()

    await until(lambda: bank.ended == ["report"])
    status = await TransferStub(bank.channel).GetStatus(GetTransferStatus(transfer_id="t"))
    assert status.reason == "there is none"


async def test_an_http_client_that_leaves_in_the_middle_ends_the_stream(bank: Bank) -> None:
    async with bank.http.stream("GET", "/report") as response:
        async for _ in response.aiter_lines():
            break

    await until(lambda: bank.ended == ["report"])
    assert (await bank.http.get("/transfers/t")).json()["reason"] == "there is none"


async def until(condition: Any, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.002)
