"""What a user function's delta, or a state that changed, cannot be translated for."""

from __future__ import annotations

__all__ = ["BadDelta", "Incompatible", "TranslationFault"]


class TranslationFault(Exception):
    """Something cannot be said or taken in. Nothing was changed."""


class BadDelta(TranslationFault):
    """A user function sent a delta that the protocol does not allow."""


class Incompatible(TranslationFault):
    """A state is of another type than expected, or it went where no delta leads."""
