"""What holds for all tests.

Names of test cases are the same in every process, so that several can share the tests. Examples
that chance has chosen have no deadline: the machine may be busy, and each test has its limit.
"""

from __future__ import annotations

import re

from hypothesis import settings

settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")

#: Longer bytes are packed ones, mostly, which hold the time.
_MOST_BYTES = 8

_SPOKEN_FOR = (str, int, float, bool, type(None))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a value after its argument where its own name would differ in another process."""
    if isinstance(val, bytes):
        return argname if len(val) > _MOST_BYTES else None
    if isinstance(val, _SPOKEN_FOR):
        return None
    try:
        return argname if _ADDRESS.search(repr(val)) else None
    except RecursionError:
        return argname
