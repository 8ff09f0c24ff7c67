"""What an application can declare, and what it is told when it cannot."""

from __future__ import annotations

import math
from typing import Any

import pytest
from acme_ratelimit import RateLimitContext, RateLimitedEntity
from acme_ratelimit.entity import MAX_CAPACITY
from acme_ratelimit.ratelimit_pb2 import Terms
from quotas.quotas_pb2 import Quota
from serving import QUOTAS, quotas

from cloudstate import entity_pb2
from cloudstate_core.errors import RegistrationError


def test_a_complete_declaration_is_valid() -> None:
    entity = quotas(capacity=MAX_CAPACITY, refill_per_s=0)

    entity.validate()

    assert entity.terms == Terms(capacity=MAX_CAPACITY)
    assert entity.command("Spend").name == "Spend"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"capacity": 0}, "expected a capacity from 1 to 4294967295, found 0"),
        ({"capacity": MAX_CAPACITY + 1}, "found 4294967296"),
        ({"refill_per_s": -0.1}, "expected a finite refill_per_s of at least 0, found -0.1"),
        ({"refill_per_s": math.inf}, "found inf"),
        ({"refill_per_s": math.nan}, "found nan"),
    ],
)
def test_terms_that_cannot_work_are_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(RegistrationError) as caught:
        RateLimitedEntity(QUOTAS, **{"capacity": 1, "refill_per_s": 1, **options})

    assert expected in str(caught.value)
    assert str(caught.value).startswith("acme.quotas.Quotas: ")


def test_a_handler_may_ask_for_what_there_is_and_nothing_else() -> None:
    entity = RateLimitedEntity(QUOTAS, capacity=1, refill_per_s=1)

    def spend(ctx: RateLimitContext, database: dict) -> Quota:
        return Quota()

    with pytest.raises(RegistrationError, match="nothing to give for parameter 'database'"):
        entity.command_handler("Spend")(spend)


def test_a_method_without_handler_is_an_error_before_anything_is_served() -> None:
    entity = RateLimitedEntity(QUOTAS, capacity=1, refill_per_s=1)

    @entity.command_handler("Spend")
    def spend() -> Quota:
        return Quota()

    with pytest.raises(RegistrationError, match="no command handler for Show"):
        entity.validate()


def test_a_method_that_does_not_say_whose_bucket_it_takes_from_is_refused() -> None:
    discovery = entity_pb2.DESCRIPTOR.services_by_name["EntityDiscovery"]
    entity = RateLimitedEntity(discovery, capacity=1, refill_per_s=1)

    with pytest.raises(RegistrationError, match="no entity key in the message of discover"):
        entity.validate()
