"""The cases for user functions against our host, which serves the model entities of this suite."""

from __future__ import annotations

import pytest_asyncio

from cloudstate_tck.examination import Conditions
from cloudstate_tck.meeting import examining_function
from cloudstate_tck.model_function import serving_models
from cloudstate_tck.pytest_cases import test_function_case  # noqa: F401 - pytest finds it here


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def examination():
    async with (
        serving_models() as function,
        examining_function(function, Conditions(patience_s=10.0)) as examination,
    ):
        yield examination
