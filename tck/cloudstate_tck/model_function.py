"""Serves the model entities of this suite, for examining a proxy without another user function."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pkgutil import iter_modules

import cloudstate_tck.models
from cloudstate_core.entity import EntityDefinition
from cloudstate_core.errors import ConfigurationError
from cloudstate_core.host.server import open_server
from cloudstate_core.host.user_function import UserFunction
from cloudstate_core.plugins import load_plugins
from cloudstate_core.settings import HostSettings

__all__ = ["model_entities", "model_function", "serving_models"]


def model_entities() -> list[EntityDefinition]:
    """Return what every module of `cloudstate_tck.models` lists as `ENTITIES`.

    A kind that is not installed has none; the cases that need them are pending then.
    """
    entities: list[EntityDefinition] = []
    for module in iter_modules(cloudstate_tck.models.__path__):
        try:
            entities += import_module(f"cloudstate_tck.models.{module.name}").ENTITIES
        except ImportError as error:
            if error.name is None or error.name.partition(".")[0] == "cloudstate_tck":
                raise  # a fault of our own is not a kind that is missing
    return entities


def model_function() -> UserFunction:
    """Return the model entities as a user function.

    Raises:
        ConfigurationError: If no kind is installed that has model entities.
    """
    entities = model_entities()
    if not entities:
        raise ConfigurationError(
            "no kind of entities is installed: pip install 'cloudstate-tck[models]', or name a "
            "user function with --function HOST:PORT"
        )
    return UserFunction(entities, load_plugins(), service_name="cloudstate-tck-models")


@asynccontextmanager
async def serving_models() -> AsyncIterator[str]:
    """Serve the model entities on a port of this machine; gives `HOST:PORT`.

    Raises:
        ConfigurationError: If no kind is installed that has model entities.
    """
    async with open_server(model_function(), HostSettings(port=0)) as server:
        yield server.address
