"""Everything a case may use: the sides under examination, and what was recorded between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from cloudstate.entity_pb2 import EntitySpec, ProxyInfo
from cloudstate_tck.function_client import FunctionClient
from cloudstate_tck.protocol import ENTITY_TYPES
from cloudstate_tck.proxy_client import ProxyClient
from cloudstate_tck.recorder import Recorder
from cloudstate_tck.scripted.function import ScriptedFunction

__all__ = ["Conditions", "Examination"]


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a case is run.

    Attributes:
        patience_s: How long to wait for what must come, in seconds.
        quiet_s: How long to wait for what must not come after a case, in seconds.
        startup_timeout_s: How long the sides may take to be there, in seconds.
        relay_timeout_s: How long the proxy waits for one reply of a user function, in seconds; for
            the cases with a hostile user function.
        run_id: Part of every entity id, so that a durable store may be examined twice.
        kinds: The kinds of entities that the proxy should support, of `ENTITY_TYPES`.
    """

    patience_s: float = 3.0
    quiet_s: float = 0.01
    startup_timeout_s: float = 60.0
    relay_timeout_s: float = 60.0
    run_id: str = "run"
    kinds: frozenset[str] = frozenset(ENTITY_TYPES)


@dataclass(slots=True)
class Examination:
    """What a case examines.

    Attributes:
        conditions: How long to wait, and what to expect.
        spec: What the user function has announced.
        function: The user function, spoken to in a proxy's place.
        proxy: The proxy's services; None if there is no proxy under examination.
        proxy_info: What the proxy has said of itself to the user function, if that was seen.
        recorder: What went between proxy and user function; None if nobody could listen, and then
            cases examine what a client sees.
        hostile: The user function that breaks the protocol, in the cases that need it.
    """

    conditions: Conditions
    spec: EntitySpec
    function: FunctionClient | None = None
    proxy: ProxyClient | None = None
    proxy_info: ProxyInfo | None = None
    recorder: Recorder | None = None
    hostile: ScriptedFunction | None = None
    _numbers: count[int] = field(default_factory=lambda: count(1))

    @property
    def services(self) -> frozenset[str]:
        """Full names of the services that the user function has announced."""
        return frozenset(entity.service_name for entity in self.spec.entities)

    def new_entity_id(self, prefix: str = "entity") -> str:
        """Return an id that no case has used, in this run or in another."""
        return f"{prefix}-{self.conditions.run_id}-{next(self._numbers)}"

    def the_function(self) -> FunctionClient:
        """Return the user function; the case was chosen because there is one."""
        assert self.function is not None
        return self.function

    def the_proxy(self) -> ProxyClient:
        """Return the proxy; the case was chosen because there is one."""
        assert self.proxy is not None
        return self.proxy

    def the_hostile_function(self) -> ScriptedFunction:
        """Return the hostile user function; the case was chosen because there is one."""
        assert self.hostile is not None
        return self.hostile
