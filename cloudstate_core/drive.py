"""The loop around a pure machine.

A machine takes an input and returns instructions; carrying out an instruction may yield the next
input. Engines and servicers of every kind share this loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

__all__ = ["Driver", "Machine"]

Input = TypeVar("Input")
Instruction = TypeVar("Instruction")
Input_contra = TypeVar("Input_contra", contravariant=True)
Instruction_co = TypeVar("Instruction_co", covariant=True)


class Machine(Protocol[Input_contra, Instruction_co]):
    """A pure state machine; `receive` is its only method that changes it."""

    def receive(self, input_: Input_contra, /) -> Sequence[Instruction_co]:
        """Take one input and return what must be done now, in order."""
        ...


class Driver(Generic[Input, Instruction]):
    """Runs a machine: carries out its instructions and feeds back what came of them.

    Instructions are carried out strictly one after another. An exception from carrying one out
    leaves the loop at once; the machine must not be used after that.
    """

    def __init__(
        self,
        machine: Machine[Input, Instruction],
        perform: Callable[[Instruction], Awaitable[Input | None]],
    ) -> None:
        """Keep the parts.

        Args:
            machine: The machine.
            perform: Carries out one instruction; what it returns is the machine's next input.
        """
        self._machine = machine
        self._perform = perform

    async def run(self, first: Input) -> None:
        """Feed `first` to the machine, and then whatever follows from it, until nothing does."""
        inputs = [first]
        for input_ in inputs:  # and for those that are appended meanwhile
            for instruction in self._machine.receive(input_):
                result = await self._perform(instruction)
                if result is not None:
                    inputs.append(result)
