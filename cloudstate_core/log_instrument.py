"""What the runtime does, in the log."""

from __future__ import annotations

import structlog

from cloudstate_core.entity import DeployedEntity
from cloudstate_core.errors import CloudstateError
from cloudstate_core.instrument import Instrument

__all__ = ["LogInstrument"]

_log = structlog.get_logger("cloudstate")


class LogInstrument(Instrument):
    """Logs what happens to entities; commands are too many for a log."""

    def entity_activated(self, entity: DeployedEntity, entity_id: str) -> None:
        _log.debug("entity_activated", service=entity.service_name, entity_id=entity_id)

    def entity_passivated(self, entity: DeployedEntity, entity_id: str) -> None:
        _log.debug("entity_passivated", service=entity.service_name, entity_id=entity_id)

    def entity_crashed(self, entity: DeployedEntity, entity_id: str, error: BaseException) -> None:
        expected = isinstance(error, CloudstateError)
        _log.warning(
            "entity_crashed",
            service=entity.service_name,
            entity_type=entity.entity_type,
            entity_id=entity_id,
            error=str(error) or type(error).__name__,
            detail=error.detail if isinstance(error, CloudstateError) else "",
            # What is none of our errors is a defect, and its origin is what matters.
            exc_info=None if expected else error,
        )
