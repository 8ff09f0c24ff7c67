"""The front ends are found the way those of strangers are."""

from __future__ import annotations

from cloudstate_core.plugins import load_plugins


def test_both_front_ends_are_registered() -> None:
    front_ends = load_plugins().frontends

    assert {"grpc", "http"} <= front_ends.keys()
    # HTTP takes whatever looks like text, so it has to be asked last.
    assert max(front_ends.values(), key=lambda each: each.order).name == "http"
