"""The counter: what it asks, what it leaves to others, and what it streams."""

from __future__ import annotations

from bank.account_entity import entity as account
from bank.accounts_pb2 import AccountBalance, DepositMoney, OpenAccount
from bank.bank_action import action
from bank.bank_pb2 import ReportLine, ReportRequest
from bank.transfer_entity import entity as transfer
from bank.transfers_pb2 import Stage, TransferOrder

from cloudstate_core.status import Status
from cloudstate_core.testing import EntityKit, Failed

ORDER = TransferOrder(transfer_id="t", from_account="alice", to_account="bob", cents=70)
BALANCE = "com.example.bank.Account/GetBalance"
NOBODY = Failed("there is no account 'alice'", Status.NOT_FOUND)


def test_an_order_is_left_to_the_transfer_if_somebody_pays() -> None:
    kit = EntityKit(action, answers={BALANCE: AccountBalance(account_id="alice", cents=5)})

    handled = kit.handle("Order", ORDER)

    assert handled.forward is not None
    assert (handled.forward.name, handled.forward.message) == (
        "com.example.bank.Transfer.Begin",
        ORDER,
    )


def test_an_order_of_nobody_fails_as_the_question_did() -> None:
    handled = EntityKit(action, answers={BALANCE: NOBODY}).handle("Order", ORDER)

    assert handled.failure == NOBODY
    assert handled.forward is None


def test_an_order_without_a_paying_account_asks_nobody() -> None:
    handled = EntityKit(action).handle("Order", TransferOrder(transfer_id="t", cents=70))

    assert handled.failure is not None
    assert handled.failure.code is Status.INVALID_ARGUMENT
    assert handled.asked == ()


def test_a_report_has_a_line_for_each_account_whether_there_is_one_or_not() -> None:
    kit = EntityKit(action, account)
    kit.handle("com.example.bank.Account/Open", OpenAccount(account_id="alice", owner="Alice"))
    kit.handle("com.example.bank.Account/Deposit", DepositMoney(account_id="alice", cents=100))

    handled = kit.stream("Report", ReportRequest(account_ids=["alice", "bob"]))

    assert [each.reply for each in handled] == [
        ReportLine(account_id="alice", owner="Alice", cents=100),
        ReportLine(account_id="bob", problem="there is no account 'bob'"),
    ]


def test_all_three_together_carry_out_an_order() -> None:
    kit = EntityKit(action, account, transfer)
    for name in ("alice", "bob"):
        kit.handle("com.example.bank.Account/Open", OpenAccount(account_id=name, owner=name))
    kit.handle("com.example.bank.Account/Deposit", DepositMoney(account_id="alice", cents=100))

    first = kit.handle("Order", ORDER)
    again = kit.handle("Order", ORDER)

    assert (first.reply.stage, again.reply.stage) == (Stage.REQUESTED, Stage.CREDITED)
    report = kit.stream("Report", ReportRequest(account_ids=["alice", "bob"]))
    assert [each.reply.cents for each in report] == [30, 70]
