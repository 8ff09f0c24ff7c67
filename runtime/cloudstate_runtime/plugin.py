"""What the runtime adds, through the hooks that everybody uses."""

from __future__ import annotations

import click

from cloudstate_core.frontend import FrontEnd
from cloudstate_core.hookspecs import hookimpl
from cloudstate_core.interceptor import Interceptor
from cloudstate_core.settings import SettingsSection
from cloudstate_runtime.admission import Admission
from cloudstate_runtime.cli.nodes import nodes
from cloudstate_runtime.cli.parked import parked
from cloudstate_runtime.cli.proxy import proxy
from cloudstate_runtime.cli.run import run
from cloudstate_runtime.frontend.grpc import GrpcFrontEnd, GrpcSettings
from cloudstate_runtime.frontend.http import HttpFrontEnd
from cloudstate_runtime.settings import RuntimeSettings

__all__ = [
    "cloudstate_register_commands",
    "cloudstate_register_frontends",
    "cloudstate_register_interceptors",
    "cloudstate_register_settings",
]


@hookimpl
def cloudstate_register_frontends() -> list[FrontEnd]:
    """Add gRPC and HTTP/JSON."""
    return [GrpcFrontEnd(), HttpFrontEnd()]


@hookimpl
def cloudstate_register_interceptors() -> list[Interceptor]:
    """Add the bound on how much is served at once."""
    return [Admission()]


@hookimpl
def cloudstate_register_settings() -> list[SettingsSection]:
    """Add the sections `runtime` and `grpc`."""
    return [
        SettingsSection("runtime", RuntimeSettings),
        SettingsSection(GrpcFrontEnd.name, GrpcSettings),
    ]


@hookimpl
def cloudstate_register_commands() -> list[click.Command]:
    """Add what needs a runtime."""
    return [run, proxy, parked, nodes]
