"""A transfer by itself: its stages, and whom it asks at each of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from bank.accounts_pb2 import TransferStep
from bank.transfer_entity import Saga, entity
from bank.transfers_pb2 import (
    GetTransferStatus,
    Stage,
    StepDone,
    StepRefused,
    TransferOrder,
    TransferStatus,
)

from cloudstate_core.status import Status
from cloudstate_core.testing import EntityKit, Failed

ORDER = TransferOrder(transfer_id="t", from_account="alice", to_account="bob", cents=70)
DONE = StepDone(transfer_id="t")
REFUSED = StepRefused(transfer_id="t", reason="no")

PAID = (("Debited", DONE), ("Credited", DONE))
GIVEN_BACK = (("Debited", DONE), ("CreditRefused", REFUSED), ("Refunded", DONE))
NOT_PAID = (("DebitRefused", REFUSED),)

Told = Sequence[tuple[str, object]]


@pytest.fixture
def begun() -> EntityKit:
    kit = EntityKit(entity)
    kit.handle("Begin", ORDER)
    return kit


def test_a_transfer_begins_by_asking_for_the_money() -> None:
    handled = EntityKit(entity).handle("Begin", ORDER)

    assert handled.reply.stage == Stage.REQUESTED
    assert handled.state == Saga("alice", "bob", 70)
    (asked,) = handled.effects
    assert (asked.name, asked.message) == (
        "com.example.bank.Account.Debit",
        TransferStep(account_id="alice", transfer_id="t", cents=70),
    )


@pytest.mark.parametrize(
    ("told", "stage", "reason"),
    [
        (PAID, Stage.CREDITED, ""),
        (NOT_PAID, Stage.REFUSED, "no"),
        (GIVEN_BACK, Stage.COMPENSATED, "no"),
    ],
)
def test_each_way_through_the_stages_has_its_end(
    begun: EntityKit, told: Told, stage: int, reason: str
) -> None:
    for command, message in told:
        handled = begun.handle(command, message)
        begun.crash()
    assert handled.effects == ()

    status = begun.handle("GetStatus", GetTransferStatus(transfer_id="t")).reply

    assert status == TransferStatus(
        transfer_id="t",
        from_account="alice",
        to_account="bob",
        cents=70,
        stage=stage,
        reason=reason,
    )


@pytest.mark.parametrize(
    ("told", "account_id", "command"),
    [(PAID[:1], "bob", "Credit"), (GIVEN_BACK[:2], "alice", "Refund")],
)
def test_the_account_that_is_next_is_asked(
    begun: EntityKit, told: Told, account_id: str, command: str
) -> None:
    for each, message in told:
        handled = begun.handle(each, message)

    (asked,) = handled.effects
    assert asked.name == f"com.example.bank.Account.{command}"
    assert asked.message == TransferStep(account_id=account_id, transfer_id="t", cents=70)


@pytest.mark.parametrize("told", [PAID, NOT_PAID, GIVEN_BACK])
@pytest.mark.parametrize(
    "late", ["Debited", "DebitRefused", "Credited", "CreditRefused", "Refunded"]
)
def test_what_is_told_after_the_end_changes_nothing(
    begun: EntityKit, told: Told, late: str
) -> None:
    for command, message in told:
        begun.handle(command, message)
    ended = begun.state("t")

    handled = begun.handle(late, REFUSED if "Refused" in late else DONE)

    assert handled.failure is not None
    assert handled.failure.code is Status.FAILED_PRECONDITION
    assert handled.effects == ()
    assert begun.state("t") == ended


def test_what_is_told_to_no_transfer_changes_nothing() -> None:
    kit = EntityKit(entity)

    handled = kit.handle("Debited", DONE)

    assert handled.failure == Failed(
        "Debited: expected REQUESTED, found no transfer", Status.FAILED_PRECONDITION
    )
    assert kit.state("t") is None


def test_the_same_order_again_asks_for_no_more_money(begun: EntityKit) -> None:
    begun.handle("Debited", DONE)

    handled = begun.handle("Begin", ORDER)

    assert handled.effects == ()
    assert handled.reply.stage == Stage.DEBITED


@pytest.mark.parametrize(
    "changed", [{"from_account": "carol"}, {"to_account": "carol"}, {"cents": 71}]
)
def test_another_order_under_the_same_id_is_refused(
    begun: EntityKit, changed: dict[str, str | int]
) -> None:
    other = TransferOrder()
    other.CopyFrom(ORDER)
    for name, value in changed.items():
        setattr(other, name, value)

    handled = begun.handle("Begin", other)

    assert handled.failure == Failed("there is another transfer of this id", Status.ALREADY_EXISTS)
    assert begun.state("t") == Saga("alice", "bob", 70)


@pytest.mark.parametrize(
    ("order", "why"),
    [
        (TransferOrder(transfer_id="t", from_account="a", to_account="b"), "more than 0 cents"),
        (
            TransferOrder(transfer_id="t", from_account="a", to_account="b", cents=-5),
            "more than 0 cents",
        ),
        (
            TransferOrder(transfer_id="t", from_account="a", to_account="a", cents=5),
            "two different accounts",
        ),
        (TransferOrder(transfer_id="t", to_account="a", cents=5), "without a name"),
    ],
)
def test_an_order_that_makes_no_sense_is_no_transfer(order: TransferOrder, why: str) -> None:
    kit = EntityKit(entity)

    handled = kit.handle("Begin", order)

    assert handled.failure is not None
    assert handled.failure.code is Status.INVALID_ARGUMENT
    assert why in handled.failure.description
    assert kit.state("t") is None


def test_nobody_knows_a_transfer_that_never_began() -> None:
    handled = EntityKit(entity).handle("GetStatus", GetTransferStatus(transfer_id="t"))

    assert handled.failure == Failed("there is no transfer 't'", Status.NOT_FOUND)
