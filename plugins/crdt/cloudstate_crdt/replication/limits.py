"""How much replication may use of anything, and how often it does something."""

from __future__ import annotations

from cloudstate_core.value import value
from cloudstate_crdt.registry import DEFAULT_MAX_STATE_BYTES

__all__ = ["Limits"]


@value
class Limits:
    """Every buffer has a bound. What goes beyond is dropped, and found again by comparison.

    Attributes:
        consistency_timeout_s: For how long a command waits for other nodes.
        status_every_s: How often a node says how far it has come. A lost last change, or anything
            that only a comparison finds, is found that much later.
        compare_every_s: How often two nodes compare that differ and know no reason why.
        round_timeout_s: After how long a comparison that was not answered is given up.
        recent_s: For how long after a change its entity is left out of comparisons that have no
            other reason than a difference: the change may be on its way.
        ask_again_s: After how long what is missing is asked for, and what was not confirmed is sent
            again; further times take longer.
        recent_changes: How many own changes are kept, to be sent again.
        recent_bytes: How many bytes they may have.
        repair_bytes: How much is sent at one request for what is missing.
        round_entities: How many entities one comparison brings together.
        round_bytes: How many bytes of states it sends.
        joining_bytes: How much of what one node sends may wait to be stored.
        max_state_bytes: The longest state that is taken in.
        report_every_s: How often the same of the same node is reported.
        refused_for_s: For how long a state that was refused is not asked for again.
        waiting_reported_every_s: How often it is reported for whom forgetting departed writers
            waits.
    """

    consistency_timeout_s: float = 5.0
    status_every_s: float = 0.5
    compare_every_s: float = 1.0
    round_timeout_s: float = 1.0
    recent_s: float = 1.0
    ask_again_s: float = 0.2
    recent_changes: int = 10_000
    recent_bytes: int = 4 * 2**20
    repair_bytes: int = 2**20
    round_entities: int = 1_000
    round_bytes: int = 4 * 2**20
    joining_bytes: int = 32 * 2**20
    max_state_bytes: int = DEFAULT_MAX_STATE_BYTES
    report_every_s: float = 10.0
    refused_for_s: float = 60.0
    waiting_reported_every_s: float = 60.0
