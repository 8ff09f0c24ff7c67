"""What every state store must do, as tests.

Subclass `StateStoreContract` in the tests of a backend and say how to open the store::

    class TestMyStore(StateStoreContract):
        @pytest.fixture
        def open_store(self, tmp_path: Path, clock: ManualClock) -> OpenStore:
            return lambda: MyBackend().open(MySettings(), tmp_path, clock)

The store is empty for each test; within a test, every call of what the fixture returns opens the
same store. If nothing outlives the store, set `durable = False`. If the disk or the network below
the store can be made to fail, return a `FaultInjector` from the fixture `faults`: then the store is
also tested with a failure at every single call.

The tests need pytest and pytest-asyncio with `asyncio_mode = "auto"`.
"""

from __future__ import annotations

import pytest

# What a test of the suite asserts is to be explained as well as that of any other test.
_PARTS = (
    "amendments atomicity events failures histories identity log messages order parking races "
    "replies state"
)
for _part in _PARTS.split():
    pytest.register_assert_rewrite(f"cloudstate_core.testing.store_contract_{_part}")

from cloudstate_core.testing.store_contract_amendments import AmendmentCases  # noqa: E402
from cloudstate_core.testing.store_contract_atomicity import AtomicityCases  # noqa: E402
from cloudstate_core.testing.store_contract_events import EventCases  # noqa: E402
from cloudstate_core.testing.store_contract_failures import FailureCases  # noqa: E402
from cloudstate_core.testing.store_contract_histories import HistoryCases  # noqa: E402
from cloudstate_core.testing.store_contract_identity import IdentityCases  # noqa: E402
from cloudstate_core.testing.store_contract_log import LogCases  # noqa: E402
from cloudstate_core.testing.store_contract_messages import MessageCases  # noqa: E402
from cloudstate_core.testing.store_contract_order import OrderCases  # noqa: E402
from cloudstate_core.testing.store_contract_parking import ParkingCases  # noqa: E402
from cloudstate_core.testing.store_contract_races import RaceCases  # noqa: E402
from cloudstate_core.testing.store_contract_replies import ReplyCases  # noqa: E402
from cloudstate_core.testing.store_contract_setting import (  # noqa: E402
    FaultInjector,
    OpenStore,
)
from cloudstate_core.testing.store_contract_state import StateCases  # noqa: E402

__all__ = ["FaultInjector", "OpenStore", "StateStoreContract"]


class StateStoreContract(
    EventCases,
    RaceCases,
    OrderCases,
    AtomicityCases,
    StateCases,
    AmendmentCases,
    IdentityCases,
    MessageCases,
    ParkingCases,
    ReplyCases,
    LogCases,
    HistoryCases,
    FailureCases,
):
    """What every state store must do."""
