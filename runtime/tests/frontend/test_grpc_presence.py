"""Whether a client is still there."""

from __future__ import annotations

from cloudstate_runtime.frontend.grpc.presence import Advice, Presence


def test_a_silent_client_with_calls_is_asked_once_and_given_up_if_it_says_nothing() -> None:
    presence = Presence(0.0)

    assert presence.look(0.0, has_calls=True) is Advice.NOTHING
    assert presence.look(59.9, has_calls=True) is Advice.NOTHING
    assert presence.look(60.0, has_calls=True) is Advice.ASK
    assert presence.look(89.9, has_calls=True) is Advice.NOTHING
    assert presence.look(90.0, has_calls=True) is Advice.GIVE_UP


def test_whatever_is_heard_counts_as_a_sign_of_life() -> None:
    presence = Presence(0.0)
    presence.look(0.0, has_calls=True)
    assert presence.look(60.0, has_calls=True) is Advice.ASK

    presence.was_heard = True

    assert presence.look(85.0, has_calls=True) is Advice.NOTHING
    assert presence.look(144.9, has_calls=True) is Advice.NOTHING
    assert presence.look(145.0, has_calls=True) is Advice.ASK


def test_a_client_without_calls_may_be_silent() -> None:
    presence = Presence(0.0)

    for now_s in (0.0, 100.0, 1000.0):
        assert presence.look(now_s, has_calls=False) is Advice.NOTHING
    # Its silence counts from when it has calls.
    assert presence.look(1059.9, has_calls=True) is Advice.NOTHING
    assert presence.look(1060.0, has_calls=True) is Advice.ASK
