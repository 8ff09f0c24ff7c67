from __future__ import annotations

import pytest

from cloudstate_core.drive import Driver


class Halving:
    """Asks for each number to be halved until it is odd."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def receive(self, input_: int) -> list[str]:
        self.seen.append(input_)
        return [f"halve {input_}", f"note {input_}"] if input_ % 2 == 0 else []


async def test_what_comes_of_an_instruction_is_the_next_input() -> None:
    machine, performed = Halving(), []

    async def perform(instruction: str) -> int | None:
        performed.append(instruction)
        verb, number = instruction.split()
        return int(number) // 2 if verb == "halve" else None

    await Driver(machine, perform).run(12)

    assert machine.seen == [12, 6, 3]
    # The rest of one list is carried out before the next input is given.
    assert performed == ["halve 12", "note 12", "halve 6", "note 6"]


class Fanning:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def receive(self, input_: str) -> list[str]:
        self.seen.append(input_)
        return [f"{input_}a", f"{input_}b"] if len(input_) < 3 else []


async def test_inputs_are_given_in_the_order_in_which_they_came_about() -> None:
    machine = Fanning()

    async def perform(instruction: str) -> str:
        return instruction

    await Driver(machine, perform).run("-")

    assert machine.seen == ["-", "-a", "-b", "-aa", "-ab", "-ba", "-bb"]


async def test_a_falsy_result_is_an_input_and_only_none_is_not() -> None:
    class Counting:
        seen: list[int] = []  # noqa: RUF012 - one test, one instance

        def receive(self, input_: int) -> list[str]:
            self.seen.append(input_)
            return ["again"] if input_ == 5 else []

    async def perform(instruction: str) -> int:
        return 0

    await Driver(Counting(), perform).run(5)

    assert Counting.seen == [5, 0]


async def test_an_error_leaves_the_loop_at_once() -> None:
    performed = []

    async def perform(instruction: str) -> int | None:
        performed.append(instruction)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await Driver(Halving(), perform).run(4)

    assert performed == ["halve 4"]
