"""An account by itself: what it stores, what it refuses, and what it tells a transfer."""

from __future__ import annotations

import pytest
from bank import domain_pb2 as domain
from bank.account_entity import MAX_BALANCE_CENTS, AccountState, entity
from bank.accounts_pb2 import (
    AccountBalance,
    DepositMoney,
    GetAccountBalance,
    OpenAccount,
    TransferStep,
    WithdrawMoney,
)
from bank.transfers_pb2 import StepDone, StepRefused
from google.protobuf.empty_pb2 import Empty

from cloudstate_core.status import Status
from cloudstate_core.testing import EntityKit, Failed

STEP = TransferStep(account_id="alice", transfer_id="t", cents=70)


@pytest.fixture
def kit() -> EntityKit:
    return EntityKit(entity)


@pytest.fixture
def alice(kit: EntityKit) -> EntityKit:
    """The account of Alice, with 100 cents on it."""
    kit.handle("Open", OpenAccount(account_id="alice", owner="Alice"))
    kit.handle("Deposit", DepositMoney(account_id="alice", cents=100))
    return kit


def cents(kit: EntityKit) -> int:
    state: AccountState = kit.state("alice")
    return state.cents


def test_an_account_is_opened_once(kit: EntityKit) -> None:
    opening = OpenAccount(account_id="alice", owner="Alice")

    first, again = kit.handle("Open", opening), kit.handle("Open", opening)

    assert first.events == (domain.Opened(owner="Alice"),)
    assert again.events == ()
    assert again.reply == AccountBalance(account_id="alice", owner="Alice", cents=0)


def test_an_account_has_one_owner(alice: EntityKit) -> None:
    handled = alice.handle("Open", OpenAccount(account_id="alice", owner="Bob"))

    assert handled.failure == Failed("this account has another owner", Status.ALREADY_EXISTS)


def test_an_account_needs_an_owner(kit: EntityKit) -> None:
    handled = kit.handle("Open", OpenAccount(account_id="alice"))

    assert handled.failure == Failed("expected an owner, found none", Status.INVALID_ARGUMENT)


def test_money_comes_and_goes_and_a_crash_loses_none(alice: EntityKit) -> None:
    alice.handle("Withdraw", WithdrawMoney(account_id="alice", cents=30))

    alice.crash()

    handled = alice.handle("GetBalance", GetAccountBalance(account_id="alice"))
    assert handled.reply == AccountBalance(account_id="alice", owner="Alice", cents=70)


def test_a_snapshot_is_the_account(alice: EntityKit) -> None:
    for _ in range(100):
        alice.handle("Deposit", DepositMoney(account_id="alice", cents=1))

    alice.crash()

    assert alice.state("alice") == AccountState(owner="Alice", cents=200)


@pytest.mark.parametrize("amount", [0, -1])
@pytest.mark.parametrize(
    ("command", "message"), [("Deposit", DepositMoney), ("Withdraw", WithdrawMoney)]
)
def test_only_more_than_nothing_can_be_moved(
    alice: EntityKit, command: str, message: type[DepositMoney | WithdrawMoney], amount: int
) -> None:
    handled = alice.handle(command, message(account_id="alice", cents=amount))

    assert handled.failure is not None
    assert handled.failure.code is Status.INVALID_ARGUMENT
    assert cents(alice) == 100


def test_nobody_withdraws_more_than_there_is(alice: EntityKit) -> None:
    handled = alice.handle("Withdraw", WithdrawMoney(account_id="alice", cents=101))

    assert handled.failure == Failed("there are 100 cents only", Status.FAILED_PRECONDITION)
    assert cents(alice) == 100


def test_an_account_can_be_full(alice: EntityKit) -> None:
    handled = alice.handle("Deposit", DepositMoney(account_id="alice", cents=MAX_BALANCE_CENTS))

    assert handled.failure is not None
    assert handled.failure.code is Status.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("Deposit", DepositMoney(account_id="alice", cents=1)),
        ("Withdraw", WithdrawMoney(account_id="alice", cents=1)),
        ("GetBalance", GetAccountBalance(account_id="alice")),
    ],
)
def test_there_is_no_account_before_it_is_opened(
    kit: EntityKit, command: str, message: object
) -> None:
    handled = kit.handle(command, message)

    assert handled.failure == Failed("there is no account 'alice'", Status.NOT_FOUND)


def test_a_debit_takes_the_money_and_tells_the_transfer(alice: EntityKit) -> None:
    handled = alice.handle("Debit", STEP)

    assert handled.reply == Empty()
    assert handled.events == (domain.Debited(transfer_id="t", cents=70),)
    (told,) = handled.effects
    assert (told.name, told.message) == (
        "com.example.bank.Transfer.Debited",
        StepDone(transfer_id="t"),
    )
    assert not told.synchronous
    assert cents(alice) == 30


def test_a_debit_of_more_than_there_is_is_refused_with_an_answer(alice: EntityKit) -> None:
    handled = alice.handle("Debit", TransferStep(account_id="alice", transfer_id="t", cents=101))

    assert handled.failure is None
    assert handled.events == ()
    (told,) = handled.effects
    assert (told.name, told.message) == (
        "com.example.bank.Transfer.DebitRefused",
        StepRefused(transfer_id="t", reason="there are 100 cents only"),
    )


def test_a_credit_brings_the_money_and_tells_the_transfer(alice: EntityKit) -> None:
    handled = alice.handle("Credit", STEP)

    assert handled.events == (domain.Credited(transfer_id="t", cents=70),)
    (told,) = handled.effects
    assert told.name == "com.example.bank.Transfer.Credited"
    assert cents(alice) == 170


def test_nobody_has_money_who_has_no_account(kit: EntityKit) -> None:
    debit, credit = kit.handle("Debit", STEP), kit.handle("Credit", STEP)

    assert (debit.events, credit.events) == ((), ())
    refused = StepRefused(transfer_id="t", reason="there is no account 'alice'")
    assert [(each.name, each.message) for each in (*debit.effects, *credit.effects)] == [
        ("com.example.bank.Transfer.DebitRefused", refused),
        ("com.example.bank.Transfer.CreditRefused", refused),
    ]


def test_a_full_account_refuses_a_credit(alice: EntityKit) -> None:
    step = TransferStep(account_id="alice", transfer_id="t", cents=MAX_BALANCE_CENTS)

    handled = alice.handle("Credit", step)

    assert handled.events == ()
    assert [told.name for told in handled.effects] == ["com.example.bank.Transfer.CreditRefused"]


def test_a_refund_brings_back_what_was_debited(alice: EntityKit) -> None:
    alice.handle("Debit", STEP)

    handled = alice.handle("Refund", STEP)

    assert handled.events == (domain.Refunded(transfer_id="t", cents=70),)
    assert [told.name for told in handled.effects] == ["com.example.bank.Transfer.Refunded"]
    assert cents(alice) == 100
