"""Instruments: who wants to know what the runtime does.

An instrument is told after the fact and cannot change anything. It must return quickly and not
raise. It never sees a payload.
"""

from __future__ import annotations

from cloudstate_core.entity import DeployedEntity

__all__ = ["Instrument", "Instruments"]


class Instrument:
    """Does nothing; override what you want to know."""

    def entity_activated(self, entity: DeployedEntity, entity_id: str) -> None:
        """An entity came into memory and has the state that the store holds."""

    def entity_passivated(self, entity: DeployedEntity, entity_id: str) -> None:
        """An idle entity left memory."""

    def entity_crashed(self, entity: DeployedEntity, entity_id: str, error: BaseException) -> None:
        """A command ended with an error and the entity was dropped from memory."""

    def command_handled(self, entity: DeployedEntity, command: str, duration_s: float) -> None:
        """A command was answered, with a reply or a failure, `duration_s` after its turn began."""


class Instruments(Instrument):
    """Several instruments as one, told in order."""

    def __init__(self, instruments: tuple[Instrument, ...]) -> None:
        """Keep the instruments to tell."""
        self._instruments = instruments

    def entity_activated(self, entity: DeployedEntity, entity_id: str) -> None:
        for instrument in self._instruments:
            instrument.entity_activated(entity, entity_id)

    def entity_passivated(self, entity: DeployedEntity, entity_id: str) -> None:
        for instrument in self._instruments:
            instrument.entity_passivated(entity, entity_id)

    def entity_crashed(self, entity: DeployedEntity, entity_id: str, error: BaseException) -> None:
        for instrument in self._instruments:
            instrument.entity_crashed(entity, entity_id, error)

    def command_handled(self, entity: DeployedEntity, command: str, duration_s: float) -> None:
        for instrument in self._instruments:
            instrument.command_handled(entity, command, duration_s)
