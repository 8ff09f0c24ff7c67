from __future__ import annotations

import pytest
from runtime_doubles.deployed import deploy
from runtime_doubles.engines import order
from runtime_doubles.specs import orders_file

from cloudstate_core.errors import Stopping
from cloudstate_core.frontend import Deployment
from cloudstate_core.handler import Outcome, Request
from cloudstate_runtime.routing.served import ServedNow


class Handler:
    async def handle(self, request: Request) -> Outcome:
        raise NotImplementedError


def deployment(name: str, package: str) -> Deployment:
    file = orders_file(f"{package}/orders.proto", package)
    return deploy(file, services=(f"{package}.Orders",), name=name)


@pytest.fixture
def served() -> ServedNow:
    return ServedNow()


def serve(served: ServedNow, name: str, package: str) -> Handler:
    handler = Handler()
    served.deploy(deployment(name, package), {f"{package}.Orders": handler})
    return handler


def test_what_several_user_functions_serve_is_served_together(served: ServedNow) -> None:
    shop, mall = serve(served, "one", "shop"), serve(served, "other", "mall")

    assert served.handlers == {"shop.Orders": shop, "mall.Orders": mall}
    assert set(served.entities) == {"shop.Orders", "mall.Orders"}
    assert [each.name for each in served.deployments] == ["one", "other"]
    assert [each.service_name for each in served.entities_of_others("one")] == ["mall.Orders"]


def test_a_new_deployment_takes_the_place_of_the_old_one(served: ServedNow) -> None:
    serve(served, "one", "shop")
    mall = serve(served, "one", "mall")

    assert served.handlers == {"mall.Orders": mall}
    assert set(served.entities) == {"mall.Orders"}
    assert len(served.deployments) == 1
    assert served.entities_of_others("other") == list(served.entities.values())


def test_every_change_has_a_revision_of_its_own(served: ServedNow) -> None:
    seen = [served.revision]
    serve(served, "one", "shop")
    seen.append(served.revision)
    serve(served, "one", "mall")
    seen.append(served.revision)
    served.withdraw("one")
    seen.append(served.revision)
    served.withdraw("one")

    assert len(set(seen)) == 4
    assert served.revision == seen[-1]
    assert (served.handlers, served.entities, served.deployments) == ({}, {}, ())


async def test_what_is_suspended_is_still_known_and_refuses(served: ServedNow) -> None:
    serve(served, "one", "shop")
    mall = serve(served, "other", "mall")
    revision = served.revision

    served.suspend("one")

    assert served.revision == revision
    assert set(served.entities) == {"shop.Orders", "mall.Orders"}
    assert served.handlers["mall.Orders"] is mall
    with pytest.raises(Stopping, match=r"'shop\.Orders' is being closed or replaced"):
        await served.handlers["shop.Orders"].handle(order())


def test_what_is_about_to_be_served_counts_for_others_until_it_is_withdrawn(
    served: ServedNow,
) -> None:
    claimed = deployment("one", "shop").entities
    served.claim("one", claimed)

    assert served.entities_of_others("other") == list(claimed)
    assert served.entities_of_others("one") == []
    assert served.handlers == {}

    served.withdraw("one")
    assert served.entities_of_others("other") == []
    assert served.revision == 0
