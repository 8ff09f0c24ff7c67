"""One entity in the kit: what is told of a command, crashes, time, and the mistakes of tests."""

from __future__ import annotations

import asyncio
import gc
import time
import traceback
from collections.abc import Callable, Iterator

import pytest
from desk import Desk, Notes
from google.protobuf.empty_pb2 import Empty
from notebook.notebook_pb2 import _NOTEBOOK, LineAdded, Lines, Page, Text
from notebook.notebook_pb2_grpc import NotebookStub
from shoppingcart.shopping_cart_entity import entity as shopping_cart
from shoppingcart.shoppingcart_pb2 import AddLineItem, GetShoppingCart

from cloudstate_core.anys import pack_message
from cloudstate_core.errors import (
    InvalidSpec,
    MalformedRequest,
    PluginError,
    RegistrationError,
    StoreUnavailable,
    UserFunctionError,
)
from cloudstate_core.metadata import Metadata
from cloudstate_core.plugins import Plugins, load_plugins
from cloudstate_core.status import Status
from cloudstate_core.store import AppendEvents, Commit, DeleteValue, EntityKey, PutValue
from cloudstate_core.stores.memory import MemoryStore
from cloudstate_core.targets import commands_of
from cloudstate_core.testing import (
    AsyncEntityKit,
    EntityKit,
    Failed,
    FaultyStore,
    KitError,
    ManualClock,
)
from cloudstate_core.testing.kit.deployed import deployed
from cloudstate_eventsourced.entity import EventSourcedEntity
from cloudstate_eventsourced.servicer import EventSourcedServicer

COMMANDS = commands_of(NotebookStub)
KEY = EntityKey("notebook.Notebook", "a")


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def kit(desk: Desk) -> Iterator[EntityKit]:
    with EntityKit(desk.entities[0]) as kit:
        yield kit


def lines(*added: str, id: str = "a") -> Lines:  # noqa: A002  # the field's name
    return Lines(id=id, lines=added)


def test_a_command_tells_its_reply_its_events_its_state_and_its_version(kit: EntityKit) -> None:
    kit.handle("Write", lines("one"))

    handled = kit.handle("Write", lines("two", "three"))

    assert handled.entity_id == "a"
    assert handled.reply == Text(text="one two three")
    assert handled.events == (LineAdded(line="two"), LineAdded(line="three"))
    assert handled.state == Notes(["one", "two", "three"])
    assert handled.version == 3
    assert (handled.failure, handled.forward, handled.effects, handled.asked) == (
        None,
        None,
        (),
        (),
    )
    assert kit.events("a") == [LineAdded(line=each) for each in ("one", "two", "three")]


def test_the_state_after_a_command_stays_what_it_was(kit: EntityKit) -> None:
    first = kit.handle("Write", lines("one"))
    kit.handle("Write", lines("two"))

    assert first.state == Notes(["one"])
    assert kit.state("a") == Notes(["one", "two"])
    assert kit.state("b") == Notes()


def test_the_state_after_a_command_is_that_from_before_a_crash_or_idle_time(
    kit: EntityKit,
) -> None:
    crashed = kit.handle("Write", lines("one"))
    kit.crash()
    assert crashed.state == Notes(["one"])

    idle = kit.handle("Write", lines("two"))
    kit.clock.advance(30)
    assert kit.state("a") == Notes(["one", "two"])
    assert idle.state == Notes(["one", "two"])


def test_a_state_that_nobody_can_look_at_any_more_is_not_copied(
    kit: EntityKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[Notes] = []

    def counted(notes: Notes, memo: object) -> Notes:
        copied.append(notes)
        return Notes(list(notes.lines))

    monkeypatch.setattr(Notes, "__deepcopy__", counted, raising=False)

    for number in range(5):
        kit.handle("Write", lines(str(number)))
    assert copied == []
    kept = [kit.handle("Write", lines(str(number))) for number in range(5, 8)]
    assert len(copied) == 2
    assert [len(handled.state.lines) for handled in kept] == [6, 7, 8]
    assert len(copied) == 3


def test_a_failure_is_told_with_its_code_and_stores_nothing(kit: EntityKit) -> None:
    kit.handle("Write", lines("one"))

    handled = kit.handle("WriteAndFail", lines("two"))

    assert handled.failure == Failed("out of ink", Status.FAILED_PRECONDITION)
    assert (handled.reply, handled.events, handled.version) == (None, (), 1)
    assert handled.state == Notes(["one"])


@pytest.mark.usefixtures("logged")
def test_what_a_handler_raises_is_in_the_note_and_the_entity_begins_again(
    kit: EntityKit, desk: Desk
) -> None:
    kit.handle("Write", lines("one"))

    with pytest.raises(UserFunctionError) as caught:
        kit.handle("WriteAndBreak", lines("two"))

    assert "KeyError: 'secret'" in "".join(caught.value.__notes__)
    assert "no running event loop" not in "".join(traceback.format_exception(caught.value))
    assert not kit.is_live("a")
    assert kit.handle("Read", Page(id="a")).reply == Text(text="one")


def test_after_a_crash_the_entity_is_what_the_store_says(kit: EntityKit, desk: Desk) -> None:
    for number in range(7):
        kit.handle("Write", lines(str(number)))
    desk.applied.clear()

    kit.crash()

    assert not kit.is_live("a")
    assert kit.handle("Read", Page(id="a")).reply == Text(text="0 1 2 3 4 5 6")
    # From the snapshot at the fifth event, and the two after it.
    assert desk.restored == [("a", 5, ["0", "1", "2", "3", "4"])]
    assert desk.applied == [("a", 6, "5"), ("a", 7, "6")]


def test_an_entity_leaves_memory_when_it_has_been_idle_for_long_enough(
    kit: EntityKit, desk: Desk
) -> None:
    kit.handle("Write", lines("one"))
    kit.clock.advance(29.9)
    assert kit.is_live("a")
    kit.handle("Read", Page(id="a"))
    desk.applied.clear()

    kit.clock.advance(30)

    assert not kit.is_live("a")
    assert kit.handle("Read", Page(id="a")).state == Notes(["one"])
    assert desk.applied == [("a", 1, "one")]


def test_an_entity_has_an_idle_time_of_its_own() -> None:
    entity = Desk().entities[0]
    entity.passivation_timeout_s = 5.0
    kit = EntityKit(entity, passivation_timeout_s=1.0)
    kit.handle("Write", lines("one"))

    kit.clock.advance(4)
    assert kit.is_live("a")
    kit.clock.advance(1)
    assert not kit.is_live("a")


def test_time_stands_still_until_the_test_moves_it(kit: EntityKit) -> None:
    before = kit.clock.unix_time_s()

    kit.clock.advance(60)

    assert kit.clock.unix_time_s() == before + 60
    assert kit.clock.monotonic_s() == 60


def test_handlers_get_the_headers_that_a_test_gives(kit: EntityKit, desk: Desk) -> None:
    kit.handle("Write", lines("one"), metadata={"from": "joe"})
    kit.handle("Write", lines("two"), metadata=Metadata([("a", "1"), ("a", "2")]))
    kit.handle("Write", lines("three"))

    headers = [list(given) for _, given in desk.headers]
    assert headers == [[("from", "joe")], [("a", "1"), ("a", "2")], []]


def test_a_command_may_be_named_by_its_stub_its_path_or_its_descriptor(kit: EntityKit) -> None:
    kit.handle(COMMANDS.Write, lines("one"))
    kit.handle("notebook.Notebook/Write", lines("two"))
    kit.handle(_NOTEBOOK.methods_by_name["Write"], lines("three"))

    assert kit.state("a") == Notes(["one", "two", "three"])


def test_a_store_that_fails_is_seen_by_the_test_and_the_entity_begins_again(desk: Desk) -> None:
    clock = ManualClock()
    # Claiming, looking for the last event, loading the snapshot and the events, and the commit.
    store = FaultyStore(MemoryStore(clock), fail_at=5)
    kit = EntityKit(desk.entities[0], clock=clock, store=store)

    with pytest.raises(StoreUnavailable):
        kit.handle("Write", lines("one"))

    assert store.has_failed
    assert kit.handle("Read", Page(id="a")).state == Notes()


def test_a_command_is_carried_out_once_more_if_somebody_wrote_first(kit: EntityKit) -> None:
    kit.handle("Write", lines("one"))
    foreign = AppendEvents(1, [pack_message(LineAdded(line="foreign"))])
    kit.run(kit.store.commit(Commit(KEY, 2**31, (foreign,))))

    handled = kit.handle("Write", lines("two"))

    assert handled.state == Notes(["one", "foreign", "two"])
    assert handled.version == 3


def test_two_kits_do_not_share_state(desk: Desk) -> None:
    first, second = EntityKit(desk.entities[0]), EntityKit(desk.entities[0])
    first.handle("Write", lines("one"))

    assert second.handle("Read", Page(id="a")).state == Notes()


def test_a_kit_that_is_thrown_away_leaves_nothing_behind(desk: Desk) -> None:
    kit = EntityKit(desk.entities[0])
    kit.handle("Write", lines("one"))
    loop = kit._loop

    del kit
    gc.collect()

    assert loop.is_closed()


def test_closing_ends_what_handlers_have_left_running(desk: Desk) -> None:
    ended = []
    running: list[asyncio.Task[None]] = []

    async def left_running() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def begin() -> None:
        running.append(asyncio.create_task(left_running()))
        await asyncio.sleep(0)

    with EntityKit(desk.entities[0]) as kit:
        kit.run(begin())

    assert ended == [True]
    kit.close()
    with pytest.raises(KitError, match="this kit is closed"):
        kit.handle("Read", Page(id="a"))


async def test_an_asynchronous_test_awaits_the_same(desk: Desk) -> None:
    async with AsyncEntityKit(desk.entities[0]) as kit:
        handled = await kit.handle("Write", lines("one"))
        assert (handled.reply, handled.state) == (Text(text="one"), Notes(["one"]))
        await kit.crash()
        assert await kit.state("a") == Notes(["one"])
        await kit.clock.advance(30)
        assert not kit.is_live("a")
        assert await kit.events("a") == [LineAdded(line="one")]
        assert (await kit.store.last_sequence(KEY)) == 1


async def test_commands_of_an_asynchronous_test_are_carried_out_one_at_a_time(desk: Desk) -> None:
    kit = AsyncEntityKit(desk.entities[0])

    await asyncio.gather(*[kit.handle("Write", lines(str(number))) for number in range(5)])

    assert desk.most_at_once == 1
    assert await kit.state("a") == Notes([str(number) for number in range(5)])


async def test_the_plain_kit_in_an_asynchronous_test_says_which_one_to_use(desk: Desk) -> None:
    kit = EntityKit(desk.entities[0])

    with pytest.raises(KitError, match="in an `async def` use AsyncEntityKit"):
        kit.handle("Read", Page(id="a"))


@pytest.mark.parametrize(
    ("command", "message", "said"),
    [
        ("Wrote", lines("x"), "notebook.Notebook has no command 'Wrote'; did you mean 'Write'?"),
        ("Q", lines("x"), "has no command 'Q'; it has Write, Read, WriteAndFail"),
        ("Write", Page(id="a"), "expected a message of type notebook.Lines, found notebook.Page"),
        ("Write", Lines, "expected a message of type notebook.Lines, found the class Lines"),
        ("Write", {"id": "a"}, "expected a message of type notebook.Lines, found dict"),
        ("shop.Stock/Reserve", lines("x"), "has no service 'shop.Stock'; it has notebook.Notebook"),
        (7, lines("x"), "expected the name of a command, found 7"),
    ],
)
def test_a_mistake_of_the_test_is_named(
    kit: EntityKit, desk: Desk, command: object, message: object, said: str
) -> None:
    with pytest.raises(KitError) as caught:
        kit.handle(command, message)

    assert said in str(caught.value)
    assert desk.begun == []


def test_a_command_that_does_not_stream_is_not_for_stream(kit: EntityKit) -> None:
    with pytest.raises(KitError, match=r"Write does not stream: call it with kit\.handle"):
        kit.stream("Write", [lines("x")])


def test_a_message_without_its_entity_key_is_refused_as_a_client_would_be(kit: EntityKit) -> None:
    with pytest.raises(MalformedRequest, match="the entity key is missing: set id of"):
        kit.handle("Write", Lines(lines=["x"]))


def test_an_entity_that_cannot_be_served_is_refused_at_once(desk: Desk) -> None:
    with pytest.raises(RegistrationError, match="no command handler for"):
        EntityKit(EventSourcedEntity(_NOTEBOOK, init_state=Notes))
    with pytest.raises(PluginError, match="needs entity type"):
        EntityKit(desk.entities[0], plugins=Plugins())


def test_what_a_runtime_would_not_serve_is_refused(desk: Desk) -> None:
    kind = load_plugins().kinds["eventsourced"]

    class Picky(type(kind)):  # type: ignore[misc]
        def faults(self, entity: object) -> list[str]:
            return ["no"]

    with pytest.raises(InvalidSpec, match="no"):
        deployed(desk.entities[0], Picky())


def test_a_kind_that_shows_no_state_has_that_of_the_store_or_says_so(
    kit: EntityKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(EventSourcedServicer, "state")

    handled = kit.handle("Write", lines("one"))
    assert handled.reply == Text(text="one")
    with pytest.raises(KitError, match="kind 'eventsourced' shows no state"):
        _ = handled.state

    for revision, write in enumerate([PutValue(0, pack_message(Text(text="v"))), DeleteValue(1)]):
        kit.run(kit.store.commit(Commit(KEY, 2**31, (write,))))
        assert kit.state("a") == [Text(text="v"), None][revision]


#: A test with a kit may take as much processor time as so many additions, some 5 ms. Machines
#: differ, and are busy with other things; both are felt by the additions as well.
BUDGET_ADDITIONS = 200_000


def test_a_test_with_a_kit_is_short() -> None:
    def with_a_kit() -> None:
        kit = EntityKit(shopping_cart)
        added = AddLineItem(user_id="joe", product_id="socks", name="Socks", quantity=2)
        assert kit.handle("AddItem", added).reply == Empty()
        kit.crash()
        assert len(kit.handle("GetCart", GetShoppingCart(user_id="joe")).reply.items) == 1
        kit.close()

    def additions() -> None:
        total = 0
        for number in range(BUDGET_ADDITIONS):
            total += number

    with_a_kit()  # imports

    # In turn, so that whatever else runs on the machine slows down both.
    took = [(processor_time_s(with_a_kit), processor_time_s(additions)) for _ in range(20)]

    spent, budget = (sorted(each)[10] for each in zip(*took, strict=True))
    assert spent <= budget, took


def processor_time_s(work: Callable[[], None]) -> float:
    began_s = time.process_time()
    work()
    return time.process_time() - began_s
