"""An account, event sourced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.empty_pb2 import Empty

from bank import domain_pb2 as domain
from bank.accounts_pb2 import _ACCOUNT as ACCOUNT
from bank.accounts_pb2 import (
    AccountBalance,
    DepositMoney,
    GetAccountBalance,
    OpenAccount,
    TransferStep,
    WithdrawMoney,
)
from bank.transfers_pb2 import StepDone, StepRefused
from bank.transfers_pb2_grpc import TransferStub
from cloudstate.event_sourced_context import EventSourcedCommandContext
from cloudstate.event_sourced_entity import EventSourcedEntity
from cloudstate_core.status import Status
from cloudstate_core.targets import commands_of

#: Far below what int64 holds, so that a refund always has room.
MAX_BALANCE_CENTS = 10**15

transfers = commands_of(TransferStub)


@dataclass
class AccountState:
    """Whose account it is, and what is on it; nobody's until it is opened."""

    owner: str = ""
    cents: int = 0

    @property
    def is_open(self) -> bool:
        """Whether somebody has opened it."""
        return bool(self.owner)


def no_account() -> AccountState:
    """Return what an account is before it is opened."""
    return AccountState()


entity = EventSourcedEntity(ACCOUNT, init_state=no_account, persistence_id="account")


# --- What clients call ---------------------------------------------------------------


@entity.command_handler("Open")
def open_account(
    state: AccountState, command: OpenAccount, ctx: EventSourcedCommandContext
) -> AccountBalance:
    """Open the account for its owner."""
    if not command.owner:
        ctx.fail("expected an owner, found none", code=Status.INVALID_ARGUMENT)
    if state.is_open and state.owner != command.owner:
        ctx.fail("this account has another owner", code=Status.ALREADY_EXISTS)
    if not state.is_open:
        ctx.emit(domain.Opened(owner=command.owner))
    return _balance(state, ctx)


@entity.command_handler("Deposit")
def deposit(
    state: AccountState, command: DepositMoney, ctx: EventSourcedCommandContext
) -> AccountBalance:
    """Put money into the account."""
    _check_open(state, ctx)
    _check_amount(command.cents, ctx)
    if state.cents + command.cents > MAX_BALANCE_CENTS:
        ctx.fail(f"an account holds {MAX_BALANCE_CENTS} cents at most", code=Status.OUT_OF_RANGE)
    ctx.emit(domain.Deposited(cents=command.cents))
    return _balance(state, ctx)


@entity.command_handler("Withdraw")
def withdraw(
    state: AccountState, command: WithdrawMoney, ctx: EventSourcedCommandContext
) -> AccountBalance:
    """Take money out of the account."""
    _check_open(state, ctx)
    _check_amount(command.cents, ctx)
    if state.cents < command.cents:
        ctx.fail(f"there are {state.cents} cents only", code=Status.FAILED_PRECONDITION)
    ctx.emit(domain.Withdrawn(cents=command.cents))
    return _balance(state, ctx)


@entity.command_handler("GetBalance")
def get_balance(
    state: AccountState, _: GetAccountBalance, ctx: EventSourcedCommandContext
) -> AccountBalance:
    """Show the account."""
    _check_open(state, ctx)
    return _balance(state, ctx)


# --- What transfers call -------------------------------------------------------------
# A refusal is an answer of the saga, so it goes to the transfer as a message. A failure would be
# no answer: whoever sent an effect does not see it, and the message would be set aside.


@entity.command_handler("Debit", calls=[transfers.Debited, transfers.DebitRefused])
def debit(state: AccountState, step: TransferStep, ctx: EventSourcedCommandContext) -> Empty:
    """Pay for a transfer, or refuse to."""
    if not state.is_open:
        _refuse(transfers.DebitRefused, f"there is no account {ctx.entity_id!r}", step, ctx)
    elif state.cents < step.cents:
        _refuse(transfers.DebitRefused, f"there are {state.cents} cents only", step, ctx)
    else:
        ctx.emit(domain.Debited(transfer_id=step.transfer_id, cents=step.cents))
        ctx.effect(transfers.Debited, StepDone(transfer_id=step.transfer_id))
    return Empty()


@entity.command_handler("Credit", calls=[transfers.Credited, transfers.CreditRefused])
def credit(state: AccountState, step: TransferStep, ctx: EventSourcedCommandContext) -> Empty:
    """Take what a transfer brings, or refuse to."""
    if not state.is_open:
        _refuse(transfers.CreditRefused, f"there is no account {ctx.entity_id!r}", step, ctx)
    elif state.cents + step.cents > MAX_BALANCE_CENTS:
        _refuse(transfers.CreditRefused, f"account {ctx.entity_id!r} is full", step, ctx)
    else:
        ctx.emit(domain.Credited(transfer_id=step.transfer_id, cents=step.cents))
        ctx.effect(transfers.Credited, StepDone(transfer_id=step.transfer_id))
    return Empty()


@entity.command_handler("Refund", calls=[transfers.Refunded])
def refund(step: TransferStep, ctx: EventSourcedCommandContext) -> Empty:
    """Have back what was paid for a transfer; this cannot be refused."""
    ctx.emit(domain.Refunded(transfer_id=step.transfer_id, cents=step.cents))
    ctx.effect(transfers.Refunded, StepDone(transfer_id=step.transfer_id))
    return Empty()


# --- What was stored -----------------------------------------------------------------


@entity.event_handler(domain.Opened)
def opened(state: AccountState, event: domain.Opened) -> None:
    """Note the owner."""
    state.owner = event.owner


@entity.event_handler(domain.Deposited)
def deposited(state: AccountState, event: domain.Deposited) -> None:
    """Count what was put in."""
    state.cents += event.cents


@entity.event_handler(domain.Withdrawn)
def withdrawn(state: AccountState, event: domain.Withdrawn) -> None:
    """Count what was taken out."""
    state.cents -= event.cents


@entity.event_handler(domain.Debited)
def debited(state: AccountState, event: domain.Debited) -> None:
    """Count what a transfer took."""
    state.cents -= event.cents


@entity.event_handler(domain.Credited)
def credited(state: AccountState, event: domain.Credited) -> None:
    """Count what a transfer brought."""
    state.cents += event.cents


@entity.event_handler(domain.Refunded)
def refunded(state: AccountState, event: domain.Refunded) -> None:
    """Count what came back."""
    state.cents += event.cents


@entity.snapshot()
def snapshot(state: AccountState) -> domain.Account:
    """Return the account, as it is stored every hundred events."""
    return domain.Account(owner=state.owner, cents=state.cents)


@entity.snapshot_handler()
def restore(state: AccountState, stored: domain.Account) -> None:
    """Set the account from a snapshot."""
    state.owner, state.cents = stored.owner, stored.cents


# --- Words for both ------------------------------------------------------------------


def _balance(state: AccountState, ctx: EventSourcedCommandContext) -> AccountBalance:
    return AccountBalance(account_id=ctx.entity_id, owner=state.owner, cents=state.cents)


def _check_open(state: AccountState, ctx: EventSourcedCommandContext) -> None:
    if not state.is_open:
        ctx.fail(f"there is no account {ctx.entity_id!r}", code=Status.NOT_FOUND)


def _check_amount(cents: int, ctx: EventSourcedCommandContext) -> None:
    if cents <= 0:
        ctx.fail(f"expected more than 0 cents, found {cents}", code=Status.INVALID_ARGUMENT)


def _refuse(
    told: Callable[[StepRefused], Empty],
    reason: str,
    step: TransferStep,
    ctx: EventSourcedCommandContext,
) -> None:
    ctx.effect(told, StepRefused(transfer_id=step.transfer_id, reason=reason))
