"""Ways in which forgetting departed writers could be wrong. A simulation has to find each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from simulated_node import Node

from cloudstate_crdt.departed import Departed, Retired
from cloudstate_crdt.dot_store import DotStore
from cloudstate_crdt.replication import machine
from cloudstate_crdt.replication.agreement import Agreement
from cloudstate_crdt.replication.retirements import Retirements
from cloudstate_crdt.replication.traces import Traces
from cloudstate_crdt.replication_pb2 import Message

Plant = Callable[[pytest.MonkeyPatch], None]


def what_nodes_send_that_have_forgotten_others_is_taken_in(patch: pytest.MonkeyPatch) -> None:
    bodies = Message.DESCRIPTOR.oneofs_by_name["body"].fields
    patch.setattr(machine, "_ANY_GENERATION", [body.name for body in bodies])


def what_arrives_is_not_stripped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Node, "taken_in", lambda node, change: change)


def _decided_all_the_same(patch: pytest.MonkeyPatch, objection: str) -> None:
    not_alike = Agreement._not_alike

    def hasty(agreement: Agreement) -> Iterator[tuple[str, str]]:
        return (each for each in not_alike(agreement) if objection not in each[1])

    patch.setattr(Agreement, "_not_alike", hasty)


def decided_with_reports_of_another_view(patch: pytest.MonkeyPatch) -> None:
    _decided_all_the_same(patch, "it knows other members")


def decided_with_other_digests(patch: pytest.MonkeyPatch) -> None:
    _decided_all_the_same(patch, "it has other changes")


def decided_without_some_reports(patch: pytest.MonkeyPatch) -> None:
    _decided_all_the_same(patch, "it has not said")


def decided_before_what_is_alive_is_taken_over(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Traces, "to_adopt", ())


def decided_before_all_copies_were_looked_at(patch: pytest.MonkeyPatch) -> None:
    look_for = Traces.look_for

    def blind(traces: Traces, departed: Any) -> None:
        look_for(traces, departed)
        traces._is_scanned = True

    patch.setattr(Traces, "look_for", blind)


def copies_that_change_are_not_looked_at_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Traces, "has_changed", lambda *unused: None)


def one_that_took_no_part_folds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Retirements, "_has_taken_part", lambda *unused: True)


def one_that_took_part_strips(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Retirements, "_has_taken_part", lambda *unused: False)


def forgotten_before_it_is_kept(patch: pytest.MonkeyPatch) -> None:
    keep, use = Node._keep, Node._use

    def hasty(node: Node, retired: Retired) -> None:
        node._soon(lambda: use(node, retired), 0.0)
        keep(node, retired)

    def fails(node: Node) -> None:
        process = node.process

        def restart() -> None:
            if node.is_up and node.process == process and node.kept != node.retired:
                node.stop()
                node.start()

        node.cluster.later(node.cluster.random.random(), restart)

    patch.setattr(Node, "_keep", hasty)
    patch.setattr(Node, "_use", lambda *unused: None)
    patch.setattr(Node, "_may_fail_meanwhile", fails)


def what_was_taken_over_outlives_a_removal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DotStore, "end_successions", lambda *unused: [])


def what_arrives_is_not_stripped_inside_maps(patch: pytest.MonkeyPatch) -> None:
    retire = DotStore.retire

    def shallow(store: DotStore, departed: Departed, *, fold: bool) -> bool:
        parts = {} if fold else {dot: store.copy().part_of(dot) for dot in store.paths}
        found = retire(store, departed, fold=fold)
        for dot in store.paths.keys() & parts.keys():
            branch = store.branch(store.paths[dot])
            assert branch is not None
            branch.leaves[dot] = parts[dot]
        return found

    patch.setattr(DotStore, "retire", shallow)


PLANTED: list[Plant] = [
    what_nodes_send_that_have_forgotten_others_is_taken_in,
    what_arrives_is_not_stripped,
    decided_with_reports_of_another_view,
    decided_with_other_digests,
    decided_without_some_reports,
    decided_before_what_is_alive_is_taken_over,
    decided_before_all_copies_were_looked_at,
    copies_that_change_are_not_looked_at_again,
    one_that_took_no_part_folds,
    one_that_took_part_strips,
    forgotten_before_it_is_kept,
    what_was_taken_over_outlives_a_removal,
    what_arrives_is_not_stripped_inside_maps,
]
