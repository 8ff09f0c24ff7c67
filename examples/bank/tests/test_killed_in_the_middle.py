"""The real process, killed again and again while transfers run."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import grpc
from bank.accounts_pb2 import DepositMoney, GetAccountBalance, OpenAccount
from bank.accounts_pb2_grpc import AccountStub
from bank.bank_pb2_grpc import BankStub
from bank.transfers_pb2 import GetTransferStatus, Stage, TransferOrder
from bank.transfers_pb2_grpc import TransferStub

EXAMPLE = Path(__file__).resolve().parents[1]
CLOUDSTATE = str(Path(sys.executable).with_name("cloudstate"))
ENTITIES = [
    "bank.account_entity:entity",
    "bank.transfer_entity:entity",
    "bank.bank_action:action",
]

NAMES = ("alice", "bob", "carol")
DEPOSITED_CENTS = 1_000
KILLS = 4
ORDERS_A_KILL = 40
DEADLINE_S = 30.0
ENDS = {Stage.CREDITED, Stage.REFUSED, Stage.COMPENSATED}


@contextmanager
def serving(data: Path) -> Iterator[tuple[subprocess.Popen[str], grpc.Channel]]:
    process = subprocess.Popen(
        [CLOUDSTATE, "run", *ENTITIES, "--port=0", f"--data={data}"],
        cwd=EXAMPLE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = (re.search(r"127\.0\.0\.1:\d+", line) for line in process.stdout)
        address = next((found for found in lines if found is not None), None)
        assert address is not None, "it ended before it was ready"
        with grpc.insecure_channel(address.group(0)) as channel:
            yield process, channel
    finally:
        process.kill()
        process.communicate()


def random_orders(chance: Random) -> list[TransferOrder]:
    """Return orders of which some cannot be paid and some cannot arrive."""
    orders = []
    for number in range(KILLS * ORDERS_A_KILL):
        payer, receiver = chance.sample([*NAMES, "nobody"], 2)
        orders.append(
            TransferOrder(
                transfer_id=f"t{number}",
                from_account=NAMES[number % 3] if payer == "nobody" else payer,
                to_account=receiver,
                cents=chance.randrange(1, 700),
            )
        )
    return [order for order in orders if order.from_account != order.to_account]


def open_accounts(channel: grpc.Channel) -> None:
    accounts = AccountStub(channel)
    for name in NAMES:
        accounts.Open(OpenAccount(account_id=name, owner=name), timeout=10)
        accounts.Deposit(DepositMoney(account_id=name, cents=DEPOSITED_CENTS), timeout=10)


def balances(channel: grpc.Channel) -> dict[str, int]:
    accounts = AccountStub(channel)
    return {
        name: accounts.GetBalance(GetAccountBalance(account_id=name), timeout=10).cents
        for name in NAMES
    }


def stages_at_the_end(channel: grpc.Channel, orders: list[TransferOrder]) -> dict[str, int]:
    """Wait until every transfer is at its end; return at which."""
    transfers, give_up_s = TransferStub(channel), time.monotonic() + DEADLINE_S
    stages: dict[str, int] = {}
    while len(stages) < len(orders):
        for order in orders:
            if order.transfer_id not in stages:
                asked = GetTransferStatus(transfer_id=order.transfer_id)
                stage = transfers.GetStatus(asked, timeout=10).stage
                if stage in ENDS:
                    stages[order.transfer_id] = stage
        assert time.monotonic() < give_up_s, f"{len(orders) - len(stages)} never came to an end"
    return stages


def test_over_kills_no_money_is_made_or_lost_and_every_transfer_ends(tmp_path: Path) -> None:
    chance = Random(7)
    orders = random_orders(chance)
    with serving(tmp_path) as (_, channel):
        open_accounts(channel)
    for kill in range(KILLS):
        with serving(tmp_path) as (process, channel):
            bank, at_once = BankStub(channel), orders[kill * ORDERS_A_KILL :][:ORDERS_A_KILL]
            calls = [bank.Order.future(order, timeout=10) for order in at_once]
            # Some are answered, others not even begun.
            calls[chance.randrange(len(calls))].exception()
            process.kill()
            process.wait()

    with serving(tmp_path) as (_, channel):
        # A client that got no answer orders again, under the same name.
        for order in orders:
            BankStub(channel).Order(order, timeout=10)
        stages = stages_at_the_end(channel, orders)
        found = balances(channel)

    expected = dict.fromkeys(NAMES, DEPOSITED_CENTS)
    for order in orders:
        if stages[order.transfer_id] == Stage.CREDITED:
            expected[order.from_account] -= order.cents
            expected[order.to_account] += order.cents
    assert found == expected
    assert set(stages.values()) == ENDS
