"""CRDTs: discovery, forwards, effects, failures, streams and consistency of a user function."""

from __future__ import annotations

from functools import partial

from cloudstate.crdt_pb2 import ALL, LOCAL, MAJORITY
from cloudstate.entity_pb2 import Entity
from cloudstate_tck.crdt_messages import (
    CONFIGURED,
    MODEL,
    TWO,
    accepts,
    cancelled,
    effect,
    fail,
    fails,
    forward,
    forwards,
    pushed,
    replies,
    side_effect,
    updates,
    with_consistency,
)
from cloudstate_tck.crdt_scripts import (
    Activation,
    Script,
    activated,
    asked,
    case,
    run_script,
)
from cloudstate_tck.crdt_values import (
    flag_state,
    gcounter_delta,
    gcounter_state,
    gcounter_update,
    gset_delta,
    gset_state,
    gset_update,
    ormap_add,
    ormap_delta,
    ormap_state,
    ormap_update,
    orset_state,
    pncounter_delta,
    pncounter_state,
    pncounter_update,
    register_delta,
)
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import expect_equal
from cloudstate_tck.model.crdt_pb2 import Effect, StreamedRequest
from cloudstate_tck.protocol import CRDT

__all__ = ["CASES"]

#: Where forwards and side effects of a script go; nobody carries them out.
OTHER = "another-entity"

EXPECTED_FAILURE = "expected failure"
EFFECTS = tuple(effect(entity_id) for entity_id in "123")
SIDE_EFFECTS = tuple(side_effect(entity_id) for entity_id in "123")

FAILED = asked(fail(EXPECTED_FAILURE), gives=fails(EXPECTED_FAILURE))

COUNTED_42 = asked(gcounter_update(42), gives=replies(gcounter_state(42), gcounter_delta(42)))
CHANGED_42 = asked(pncounter_update(42), gives=replies(pncounter_state(42), pncounter_delta(42)))

SCRIPTS = (
    (
        "C68",
        "GCounter",
        Script(
            "a forward takes the place of the reply",
            (
                COUNTED_42,
                asked(forward(OTHER), gives=forwards(OTHER)),
                asked(gives=replies(gcounter_state(42))),
            ),
        ),
    ),
    (
        "C69",
        "PNCounter",
        Script(
            "a forward comes with the change",
            (
                asked(
                    *updates(pncounter_update(-42)),
                    forward(OTHER),
                    gives=forwards(OTHER, pncounter_delta(-42)),
                ),
            ),
        ),
    ),
    (
        "C70",
        "GSet",
        Script(
            "a side effect comes with the reply",
            (
                asked(gset_update("one"), gives=replies(gset_state(["one"]), gset_delta(["one"]))),
                asked(
                    effect(OTHER),
                    gives=replies(gset_state(["one"]), effects=[side_effect(OTHER)]),
                ),
                asked(gives=replies(gset_state(["one"]))),
            ),
        ),
    ),
    (
        "C71",
        "ORSet",
        Script(
            "a synchronous side effect says so",
            (
                asked(
                    effect(OTHER, synchronous=True),
                    gives=replies(orset_state(), effects=[side_effect(OTHER, synchronous=True)]),
                ),
            ),
        ),
    ),
    (
        "C72",
        "LWWRegister",
        Script(
            "a forward comes with a side effect, and with the first value",
            (
                asked(
                    effect("B"),
                    forward("A"),
                    gives=forwards("A", register_delta(""), effects=[side_effect("B")]),
                ),
            ),
        ),
    ),
    (
        "C73",
        "Flag",
        Script(
            "several side effects keep their order",
            (asked(*EFFECTS, gives=replies(flag_state(False), effects=SIDE_EFFECTS)),),
        ),
    ),
    (
        "C74",
        "ORMap",
        Script(
            "changes and side effects come in one reply",
            (
                asked(
                    *updates(
                        ormap_add("PNCounter-1"),
                        *(ormap_update("GSet-1", gset_update(element)) for element in "abc"),
                    ),
                    *EFFECTS,
                    gives=replies(
                        ormap_state(
                            {"PNCounter-1": pncounter_state(0), "GSet-1": gset_state("abc")}
                        ),
                        ormap_delta(
                            added={"PNCounter-1": pncounter_delta(0), "GSet-1": gset_delta("abc")}
                        ),
                        effects=SIDE_EFFECTS,
                    ),
                ),
            ),
        ),
    ),
    ("C75", "GCounter", Script("a failure is answered in a reply", (FAILED,))),
    (
        "C76",
        "PNCounter",
        Script(
            "an entity goes on after a failure",
            (CHANGED_42, FAILED, asked(gives=replies(pncounter_state(42)))),
        ),
    ),
    (
        "C82",
        "GCounter",
        Script(
            "a write consistency is asked for with the change",
            tuple(
                asked(
                    with_consistency(gcounter_update(by), consistency),
                    gives=replies(
                        gcounter_state(total), gcounter_delta(by), consistency=consistency
                    ),
                )
                for by, total, consistency in ((1, 1, LOCAL), (2, 3, MAJORITY), (3, 6, ALL))
            ),
        ),
    ),
)


async def discovered(examination: Examination) -> None:
    for service in (MODEL, TWO):
        expect_crdt(examination, service)


async def configured(examination: Examination) -> None:
    timeout_ms = expect_crdt(examination, CONFIGURED).passivation_strategy.timeout.timeout
    expect_equal(f"the passivation timeout of {CONFIGURED}", 100, timeout_ms)


def expect_crdt(examination: Examination, service: str) -> Entity:
    """Return what is announced of a service.

    Raises:
        Mismatch: If it is of another kind.
    """
    entity = next(e for e in examination.spec.entities if e.service_name == service)
    expect_equal(f"the entity type of {service}", CRDT.service, entity.entity_type)
    return entity


async def expect_count(entity: Activation, by: int, total: int) -> None:
    """Increment a GCounter and compare the answer.

    Raises:
        Mismatch: If it differs.
    """
    answer = replies(gcounter_state(total), gcounter_delta(by))
    await entity.expect(*updates(gcounter_update(by)), gives=answer)


async def expect_change(entity: Activation, by: int, total: int) -> None:
    """Change a PNCounter and compare the answer.

    Raises:
        Mismatch: If it differs.
    """
    answer = replies(pncounter_state(total), pncounter_delta(by))
    await entity.expect(*updates(pncounter_update(by)), gives=answer)


async def streamed(examination: Examination) -> None:
    """Watch a counter; every change comes after its reply."""
    async with activated(examination, examination.new_entity_id("GCounter")) as entity:
        first = replies(gcounter_state(0), streamed=True)
        watcher = await entity.expect_stream(StreamedRequest(), gives=first)
        for by, total in ((1, 1), (2, 3), (3, 6)):
            await expect_count(entity, by, total)
            await entity.expect_pushed(pushed(watcher, gcounter_state(total)))


async def stream_ends(examination: Examination) -> None:
    """Watch a counter until it is three."""
    async with activated(examination, examination.new_entity_id("GCounter")) as entity:
        first = replies(gcounter_state(0), streamed=True)
        until = StreamedRequest(end_state=gcounter_state(3))
        watcher = await entity.expect_stream(until, gives=first)
        await expect_count(entity, 1, 1)
        await entity.expect_pushed(pushed(watcher, gcounter_state(1)))
        await expect_count(entity, 2, 3)
        await entity.expect_pushed(pushed(watcher, gcounter_state(3), ends=True))
        await expect_count(entity, 3, 6)


async def stream_cancelled(examination: Examination) -> None:
    """Watch a counter and leave, which changes it."""
    async with activated(examination, examination.new_entity_id("PNCounter")) as entity:
        first = replies(pncounter_state(0), streamed=True)
        leaving = StreamedRequest(cancel_update=pncounter_update(-42))
        watcher = await entity.expect_stream(leaving, gives=first)
        for by, total in ((10, 10), (20, 30)):
            await expect_change(entity, by, total)
            await entity.expect_pushed(pushed(watcher, pncounter_state(total)))
        await entity.expect_cancelled(watcher, cancelled(watcher, pncounter_delta(-42)))
        await entity.expect(gives=replies(pncounter_state(-12)))
        await expect_change(entity, 30, 18)


async def empty_stream_cancelled(examination: Examination) -> None:
    """Be connected without a first element, and leave."""
    async with activated(examination, examination.new_entity_id("PNCounter")) as entity:
        await expect_change(entity, 10, 10)
        leaving = StreamedRequest(cancel_update=pncounter_update(-42), empty=True)
        watcher = await entity.expect_stream(leaving, gives=accepts())
        await entity.expect_cancelled(watcher, cancelled(watcher, pncounter_delta(-42)))
        await entity.expect(gives=replies(pncounter_state(-32)))


async def streamed_effects(examination: Examination) -> None:
    """Watch a set with side effects, which come with each change and not before."""
    effects = [side_effect("one"), side_effect("two", synchronous=True)]
    payload = StreamedRequest(effects=[Effect(id="one"), Effect(id="two", synchronous=True)])
    async with activated(examination, examination.new_entity_id("GSet")) as entity:
        first = replies(gset_state(), streamed=True)
        watcher = await entity.expect_stream(payload, gives=first)
        for element, elements in (("a", "a"), ("b", "ab")):
            answer = replies(gset_state(elements), gset_delta(element))
            await entity.expect(*updates(gset_update(element)), gives=answer)
            await entity.expect_pushed(pushed(watcher, gset_state(elements), effects=effects))


CASES = (
    case("C1", "the model entities are announced", needs=frozenset({MODEL, TWO}), run=discovered),
    case("C2", "the options are announced", needs=frozenset({CONFIGURED}), run=configured),
    case("C77", "a stream has every change, after its reply", run=streamed),
    case("C78", "a stream ends when the user function says so", run=stream_ends),
    case("C79", "the leaving of a stream's client changes the state", run=stream_cancelled),
    case("C80", "a stream may begin without an element", run=empty_stream_cancelled),
    case("C81", "side effects come with the elements of a stream", run=streamed_effects),
    *(
        case(id_, script.title, run=partial(run_script, type_, script))
        for id_, type_, script in SCRIPTS
    ),
)
