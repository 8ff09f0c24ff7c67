"""A transfer: the saga that takes money from one account to another, kept as one value.

    REQUESTED --Debited--> DEBITED --Credited--> CREDITED
        |                     |
    DebitRefused         CreditRefused
        |                     |
        v                     v
     REFUSED            COMPENSATING --Refunded--> COMPENSATED

Each step is stored together with the message that asks for the next one, and each message has its
effect once. So a transfer goes on after a crash where it was, and nothing is paid twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.empty_pb2 import Empty

from bank.accounts_pb2 import TransferStep
from bank.accounts_pb2_grpc import AccountStub
from bank.transfers_pb2 import _TRANSFER as TRANSFER
from bank.transfers_pb2 import (
    GetTransferStatus,
    StepDone,
    StepRefused,
    TransferOrder,
    TransferStatus,
)
from cloudstate.value_entity import ValueEntity, ValueEntityCommandContext
from cloudstate_core.status import Status
from cloudstate_core.targets import commands_of

accounts = commands_of(AccountStub)


@dataclass
class Saga:
    """One transfer.

    Attributes:
        from_account: Who pays.
        to_account: Who receives.
        cents: How much.
        stage: How far it is: a name of `Stage`.
        reason: Why it was refused or compensated.
    """

    from_account: str
    to_account: str
    cents: int
    stage: str = "REQUESTED"
    reason: str = ""


entity = ValueEntity(TRANSFER, state_type=Saga, persistence_id="transfer")


# --- What clients call ---------------------------------------------------------------


@entity.command_handler("Begin", calls=[accounts.Debit])
def begin(
    saga: Saga | None, order: TransferOrder, ctx: ValueEntityCommandContext
) -> TransferStatus:
    """Ask the paying account for the money."""
    _check(order, ctx)
    ordered = Saga(order.from_account, order.to_account, order.cents)
    if saga is None:
        ctx.update(ordered)
        ctx.effect(accounts.Debit, _step(ordered.from_account, ordered, ctx))
        return _status(ordered, ctx)
    if (saga.from_account, saga.to_account, saga.cents) != (
        ordered.from_account,
        ordered.to_account,
        ordered.cents,
    ):
        ctx.fail("there is another transfer of this id", code=Status.ALREADY_EXISTS)
    return _status(saga, ctx)


@entity.command_handler("GetStatus")
def get_status(
    saga: Saga | None, _: GetTransferStatus, ctx: ValueEntityCommandContext
) -> TransferStatus:
    """Tell how far the transfer is."""
    if saga is None:
        ctx.fail(f"there is no transfer {ctx.entity_id!r}", code=Status.NOT_FOUND)
    return _status(saga, ctx)


# --- What accounts tell --------------------------------------------------------------


@entity.command_handler("Debited", calls=[accounts.Credit])
def debited(saga: Saga | None, _: StepDone, ctx: ValueEntityCommandContext) -> Empty:
    """The money is here; offer it to the receiving account."""
    saga = _go_on(saga, "REQUESTED", "DEBITED", ctx)
    ctx.effect(accounts.Credit, _step(saga.to_account, saga, ctx))
    return Empty()


@entity.command_handler("DebitRefused", calls=[])
def debit_refused(saga: Saga | None, told: StepRefused, ctx: ValueEntityCommandContext) -> Empty:
    """End here: nothing has moved."""
    _go_on(saga, "REQUESTED", "REFUSED", ctx, told.reason)
    return Empty()


@entity.command_handler("Credited", calls=[])
def credited(saga: Saga | None, _: StepDone, ctx: ValueEntityCommandContext) -> Empty:
    """End here: the money has arrived."""
    _go_on(saga, "DEBITED", "CREDITED", ctx)
    return Empty()


@entity.command_handler("CreditRefused", calls=[accounts.Refund])
def credit_refused(saga: Saga | None, told: StepRefused, ctx: ValueEntityCommandContext) -> Empty:
    """Give the money back."""
    saga = _go_on(saga, "DEBITED", "COMPENSATING", ctx, told.reason)
    ctx.effect(accounts.Refund, _step(saga.from_account, saga, ctx))
    return Empty()


@entity.command_handler("Refunded", calls=[])
def refunded(saga: Saga | None, _: StepDone, ctx: ValueEntityCommandContext) -> Empty:
    """End here: the money is back."""
    _go_on(saga, "COMPENSATING", "COMPENSATED", ctx)
    return Empty()


# --- Words for both ------------------------------------------------------------------


def _check(order: TransferOrder, ctx: ValueEntityCommandContext) -> None:
    if order.cents <= 0:
        ctx.fail(f"expected more than 0 cents, found {order.cents}", code=Status.INVALID_ARGUMENT)
    if not order.from_account or not order.to_account:
        ctx.fail("expected two accounts, found one without a name", code=Status.INVALID_ARGUMENT)
    if order.from_account == order.to_account:
        ctx.fail("expected two different accounts", code=Status.INVALID_ARGUMENT)


def _go_on(
    saga: Saga | None, before: str, after: str, ctx: ValueEntityCommandContext, reason: str = ""
) -> Saga:
    """Move to the next stage; a step that comes out of turn is a fault, and changes nothing."""
    if saga is None or saga.stage != before:
        found = "no transfer" if saga is None else saga.stage
        ctx.fail(
            f"{ctx.command_name}: expected {before}, found {found}",
            code=Status.FAILED_PRECONDITION,
        )
    saga.stage, saga.reason = after, reason or saga.reason
    ctx.update(saga)
    return saga


def _step(account_id: str, saga: Saga, ctx: ValueEntityCommandContext) -> TransferStep:
    return TransferStep(account_id=account_id, transfer_id=ctx.entity_id, cents=saga.cents)


def _status(saga: Saga, ctx: ValueEntityCommandContext) -> TransferStatus:
    return TransferStatus(
        transfer_id=ctx.entity_id,
        from_account=saga.from_account,
        to_account=saga.to_account,
        cents=saga.cents,
        stage=saga.stage,
        reason=saga.reason,
    )
