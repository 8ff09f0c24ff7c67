"""Random transfers, with messages under way in any order and crashes in between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

import pytest
from bank.account_entity import entity as account
from bank.accounts_pb2 import DepositMoney, OpenAccount
from bank.transfer_entity import Saga
from bank.transfer_entity import entity as transfer
from bank.transfers_pb2 import TransferOrder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloudstate_core.testing import EntityKit, PassedOn

OPENED = ("alice", "bob", "carol")
DEPOSITED_CENTS = 100

#: Who pays, who receives, how much. Nobody has ever opened an account as "nobody".
orders = st.tuples(
    st.sampled_from([*OPENED, "nobody"]),
    st.sampled_from([*OPENED, "nobody"]),
    st.integers(1, 150),
).filter(lambda order: order[0] != order[1])

ENDS = {"CREDITED", "REFUSED", "COMPENSATED"}
#: The stages in which the money is on neither account.
UNDER_WAY = {"DEBITED", "COMPENSATING"}


class Bank:
    """Accounts, transfers, and the messages between them, which the test delivers."""

    def __init__(self, chance: Random) -> None:
        self.accounts, self.transfers = EntityKit(account), EntityKit(transfer)
        self.chance = chance
        self.messages: list[PassedOn] = []
        self.transfer_ids: list[str] = []
        for name in OPENED:
            self.accounts.handle("Open", OpenAccount(account_id=name, owner=name))
            self.accounts.handle("Deposit", DepositMoney(account_id=name, cents=DEPOSITED_CENTS))

    def order(self, payer: str, receiver: str, cents: int) -> None:
        transfer_id = f"t{len(self.transfer_ids)}"
        order = TransferOrder(
            transfer_id=transfer_id, from_account=payer, to_account=receiver, cents=cents
        )
        self.messages += self.transfers.handle("Begin", order).effects
        self.transfer_ids.append(transfer_id)

    def deliver(self, message: PassedOn) -> None:
        kit = {"Account": self.accounts, "Transfer": self.transfers}
        to = kit[message.service.rpartition(".")[2]]
        self.messages += to.handle(message.command, message.message).effects

    def deliver_one(self) -> None:
        self.deliver(self.messages.pop(self.chance.randrange(len(self.messages))))

    def crash_perhaps(self) -> None:
        if self.chance.random() < 0.2:
            self.chance.choice([self.accounts, self.transfers]).crash()

    def sagas(self) -> list[Saga]:
        return [self.transfers.state(transfer_id) for transfer_id in self.transfer_ids]

    def balances(self) -> dict[str, int]:
        return {name: self.accounts.state(name).cents for name in (*OPENED, "nobody")}


def carry_out(bank: Bank, ordered: Iterable[tuple[str, str, int]]) -> None:
    """Order the transfers one after the other, while messages are delivered, until none is left."""
    waiting = list(ordered)
    while waiting or bank.messages:
        if waiting and (not bank.messages or bank.chance.random() < 0.4):
            bank.order(*waiting.pop(0))
        else:
            bank.deliver_one()
        bank.crash_perhaps()
        check_each_cent_is_somewhere(bank)


def check_each_cent_is_somewhere(bank: Bank) -> None:
    """Every cent is on an account or with a transfer, whatever is still under way."""
    balances = bank.balances()
    assert min(balances.values()) >= 0, balances
    assert balances["nobody"] == 0
    on_accounts = {message.message.transfer_id: message.command for message in bank.messages}
    under_way = 0
    for transfer_id, saga in zip(bank.transfer_ids, bank.sagas(), strict=True):
        # The account has acted already, and the transfer does not know it yet.
        told = on_accounts.get(transfer_id)
        if (saga.stage in UNDER_WAY and told not in {"Credited", "Refunded"}) or (
            saga.stage == "REQUESTED" and told == "Debited"
        ):
            under_way += saga.cents
    assert sum(balances.values()) + under_way == DEPOSITED_CENTS * len(OPENED)


@settings(max_examples=60, deadline=None)
@given(st.lists(orders, max_size=12), st.randoms(use_true_random=False))
@example([("alice", "nobody", 60), ("nobody", "bob", 1), ("alice", "bob", 150)], Random(1))
def test_over_random_transfers_no_money_is_made_or_lost(
    ordered: Sequence[tuple[str, str, int]], chance: Random
) -> None:
    bank = Bank(chance)

    carry_out(bank, ordered)

    assert {saga.stage for saga in bank.sagas()} <= ENDS
    expected = dict.fromkeys(OPENED, DEPOSITED_CENTS)
    for saga in bank.sagas():
        if saga.stage == "CREDITED":
            expected[saga.from_account] -= saga.cents
            expected[saga.to_account] += saga.cents
    assert bank.balances() == {**expected, "nobody": 0}


def test_every_end_is_reached() -> None:
    bank = Bank(Random(1))

    carry_out(bank, [("alice", "bob", 60), ("alice", "nobody", 40), ("bob", "carol", 1_000)])

    assert [saga.stage for saga in bank.sagas()] == ["CREDITED", "COMPENSATED", "REFUSED"]
    assert bank.balances() == {"alice": 40, "bob": 160, "carol": 100, "nobody": 0}


@pytest.mark.parametrize("doubled", ["Debit", "Credit", "Refund"])
def test_a_message_that_came_twice_would_be_noticed(doubled: str) -> None:
    """The accounts leave it to the runtime that none does; this shows that the checks would."""
    bank = Bank(Random(1))
    bank.order("alice", "nobody" if doubled == "Refund" else "bob", 30)
    while bank.messages[0].command != doubled:
        bank.deliver_one()
    (message,) = bank.messages

    bank.deliver(message)
    bank.messages.remove(message)

    check_each_cent_is_somewhere(bank)
    bank.deliver(message)
    with pytest.raises(AssertionError):
        check_each_cent_is_somewhere(bank)
