"""Open accounts, move money and look at it over gRPC, with the generated stubs.

Run it beside `make demo EXAMPLE=bank`:

    python -m bank.client open alice "Alice"                # open an account
    python -m bank.client deposit alice 100.00              # put money into it
    python -m bank.client transfer rent alice bob 25.50     # order a transfer, and wait for its end
    python -m bank.client report alice bob                  # show accounts
"""

from __future__ import annotations

import argparse
import re
import time

import grpc

from bank.accounts_pb2 import AccountBalance, DepositMoney, OpenAccount, WithdrawMoney
from bank.accounts_pb2_grpc import AccountStub
from bank.bank_pb2 import ReportRequest
from bank.bank_pb2_grpc import BankStub
from bank.transfers_pb2 import GetTransferStatus, Stage, TransferOrder
from bank.transfers_pb2_grpc import TransferStub

TIMEOUT_S = 10.0
#: Often enough for somebody who waits at a terminal.
POLL_INTERVAL_S = 0.05
ENDS = (Stage.CREDITED, Stage.REFUSED, Stage.COMPENSATED)


def main() -> None:
    """Carry out one command and show what came of it."""
    parser = _parser()
    given = parser.parse_args()
    with grpc.insecure_channel(given.address) as channel:
        try:
            given.carry_out(channel, given)
        except grpc.RpcError as error:
            parser.exit(1, f"{error.code().name}: {error.details()}\n")


def open_account(channel: grpc.Channel, given: argparse.Namespace) -> None:
    """Open an account."""
    command = OpenAccount(account_id=given.account, owner=given.owner)
    _show(AccountStub(channel).Open(command, timeout=TIMEOUT_S))


def deposit(channel: grpc.Channel, given: argparse.Namespace) -> None:
    """Put money into an account."""
    command = DepositMoney(account_id=given.account, cents=given.amount)
    _show(AccountStub(channel).Deposit(command, timeout=TIMEOUT_S))


def withdraw(channel: grpc.Channel, given: argparse.Namespace) -> None:
    """Take money out of an account."""
    command = WithdrawMoney(account_id=given.account, cents=given.amount)
    _show(AccountStub(channel).Withdraw(command, timeout=TIMEOUT_S))


def transfer(channel: grpc.Channel, given: argparse.Namespace) -> None:
    """Order a transfer, and show its stages until the last."""
    status = BankStub(channel).Order(
        TransferOrder(
            transfer_id=given.transfer,
            from_account=given.payer,
            to_account=given.receiver,
            cents=given.amount,
        ),
        timeout=TIMEOUT_S,
    )
    shown, give_up_s = None, time.monotonic() + TIMEOUT_S
    while True:
        if status.stage != shown:
            shown = status.stage
            print(Stage.Name(shown), status.reason)
        if shown in ENDS:
            return
        if time.monotonic() > give_up_s:
            print(f"not at its end after {TIMEOUT_S:.0f} s; it goes on by itself")
            return
        time.sleep(POLL_INTERVAL_S)
        asked = GetTransferStatus(transfer_id=given.transfer)
        status = TransferStub(channel).GetStatus(asked, timeout=TIMEOUT_S)


def report(channel: grpc.Channel, given: argparse.Namespace) -> None:
    """Show accounts as the bank streams them."""
    asked = ReportRequest(account_ids=given.accounts)
    for line in BankStub(channel).Report(asked, timeout=TIMEOUT_S):
        if line.problem:
            print(f"{line.account_id:12} {line.problem}")
        else:
            _show(line)


def cents_of(text: str) -> int:
    """Return the cents of an amount such as 25.50."""
    found = re.fullmatch(r"(\d+)(?:\.(\d\d))?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected an amount such as 25.50, found {text!r}")
    return int(found.group(1)) * 100 + int(found.group(2) or 0)


def _show(account: AccountBalance) -> None:
    whole, cents = divmod(account.cents, 100)
    print(f"{account.account_id:12} {whole:10}.{cents:02}  {account.owner}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--address", default="127.0.0.1:9000", help="host and port")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    opening = commands.add_parser("open", help="open an account")
    opening.add_argument("account")
    opening.add_argument("owner")
    opening.set_defaults(carry_out=open_account)
    for carry_out, help_ in ((deposit, "put money into it"), (withdraw, "take money out of it")):
        moving = commands.add_parser(carry_out.__name__, help=help_)
        moving.add_argument("account")
        moving.add_argument("amount", type=cents_of)
        moving.set_defaults(carry_out=carry_out)
    ordering = commands.add_parser("transfer", help="move money to another account")
    ordering.add_argument("transfer", help="a name of your choice; the same name is one transfer")
    ordering.add_argument("payer")
    ordering.add_argument("receiver")
    ordering.add_argument("amount", type=cents_of)
    ordering.set_defaults(carry_out=transfer)
    reporting = commands.add_parser("report", help="show accounts")
    reporting.add_argument("accounts", nargs="+")
    reporting.set_defaults(carry_out=report)
    return parser


if __name__ == "__main__":
    main()
