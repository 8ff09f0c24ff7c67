"""The command `cloudstate`."""

from __future__ import annotations

from cloudstate_core.cli.group import main
from cloudstate_core.cli.setup import Setup, config_option

__all__ = ["Setup", "config_option", "main"]
