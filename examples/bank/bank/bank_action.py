"""The counter of the bank: an action, which keeps nothing and asks those who do."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bank.accounts_pb2 import GetAccountBalance
from bank.accounts_pb2_grpc import AccountStub
from bank.bank_pb2 import _BANK as BANK
from bank.bank_pb2 import ReportLine, ReportRequest
from bank.transfers_pb2 import TransferOrder
from bank.transfers_pb2_grpc import TransferStub
from cloudstate.action_context import ActionContext
from cloudstate.action_protocol_entity import Action
from cloudstate_core.errors import AskFailed
from cloudstate_core.status import Status
from cloudstate_core.targets import commands_of

accounts = commands_of(AccountStub)
transfers = commands_of(TransferStub)

action = Action(BANK)


@action.unary_handler("Order", calls=[accounts.GetBalance, transfers.Begin])
async def order(command: TransferOrder, ctx: ActionContext) -> None:
    """Let the transfer begin, if there is somebody to pay."""
    if not command.from_account:
        ctx.fail("expected an account that pays, found none", code=Status.INVALID_ARGUMENT)
    # If there is no such account, this question fails, and with the same words our command.
    await ctx.ask(accounts.GetBalance, GetAccountBalance(account_id=command.from_account))
    ctx.forward(transfers.Begin, command)


@action.stream_out_handler("Report", calls=[accounts.GetBalance])
async def report(request: ReportRequest, ctx: ActionContext) -> AsyncIterator[ReportLine]:
    """Ask the accounts one after the other, and pass on what each of them says."""
    for account_id in request.account_ids:
        try:
            balance = await ctx.ask(accounts.GetBalance, GetAccountBalance(account_id=account_id))
        except AskFailed as error:
            yield ReportLine(account_id=account_id, problem=str(error))
        else:
            yield ReportLine(account_id=account_id, owner=balance.owner, cents=balance.cents)
