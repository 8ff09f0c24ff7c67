"""What every command starts from: the plugins, and the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import click

from cloudstate_core.plugins import Plugins, load_plugins
from cloudstate_core.settings import DEFAULT_FILE, LogSettings, PluginSettings, load

__all__ = ["Setup", "config_option", "named_config"]

C = TypeVar("C", bound=Callable[..., object])

_OPTION = "--config"

#: Says which settings file is read. The value is read before the command is even looked up,
#: because the file also says which plugins, and with them which commands, there are.
config_option: Callable[[C], C] = click.option(
    _OPTION,
    metavar="FILE",
    expose_value=False,
    help=f"Settings file.  [default: {DEFAULT_FILE}, if it exists]",
)


def named_config(arguments: Sequence[str]) -> Path | None:
    """Return the settings file that a command line names, wherever in it; None if none."""
    for at, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument == _OPTION and at + 1 < len(arguments):
            return Path(arguments[at + 1])
        if argument.startswith(f"{_OPTION}="):
            return Path(argument.partition("=")[2])
    return None


@dataclass(frozen=True, slots=True)
class Setup:
    """What a command is given, as click's `obj`.

    Attributes:
        plugins: What is installed and not disabled.
        file: The settings file, if there is one.
        environ: The environment.
    """

    plugins: Plugins
    file: Path | None
    environ: Mapping[str, str]

    @classmethod
    def read(cls, named: Path | None, environ: Mapping[str, str]) -> Setup:
        """Find the settings file and load the plugins that it does not disable.

        Raises:
            SettingsError: The file cannot be read, or its section `plugins` cannot be used.
            PluginError: A plugin cannot be used.
        """
        file = named or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
        first = load({"plugins": PluginSettings}, file, environ, {}, partial=True)
        disabled = cast("PluginSettings", first["plugins"]).disabled
        return cls(load_plugins(disabled=frozenset(disabled)), file, environ)

    def settings(self, flags: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
        """Return every section's settings by its name, and set up the log as they say.

        Args:
            flags: What was given on the command line, by section and key; None for what was not.

        Raises:
            SettingsError: A setting is unknown or cannot be used.
        """
        # The log needs structlog, and a command such as --help needs neither.
        from cloudstate_core.log import configure  # noqa: PLC0415

        settings = load(self.plugins.section_types(), self.file, self.environ, flags)
        configure(cast("LogSettings", settings["log"]))
        return settings
