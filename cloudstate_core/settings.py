"""Settings: a TOML file, the environment and flags become frozen dataclasses.

A flag is stronger than an environment variable, which is stronger than the file, which is stronger
than the default. Whatever is not known is an error, so that a misspelt setting cannot be silently
without effect.

A section is a frozen dataclass with a default for every field. Bounds and further environment
variables stand in the annotations::

    @dataclass(frozen=True, slots=True)
    class ShopSettings:
        port: Annotated[int, Between(0, 65535), Env("SHOP_PORT")] = 9000
        colours: tuple[str, ...] = ()

Every field can also be set by the variable `CLOUDSTATE_<SECTION>_<KEY>`, here
`CLOUDSTATE_SHOP_PORT`. A variable that is empty counts as not set.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Literal

from cloudstate_core.errors import PluginError, SettingsError
from cloudstate_core.settings_values import (
    Between,
    Env,
    Hint,
    Secret,
    from_text,
    hints_of,
    typed,
)

__all__ = [
    "CORE_SECTIONS",
    "DEFAULT_FILE",
    "Between",
    "Env",
    "HostSettings",
    "LogSettings",
    "PluginSettings",
    "Secret",
    "SettingsSection",
    "load",
]

#: The settings file that is read when no other is named, if it exists.
DEFAULT_FILE = Path("cloudstate.toml")

_PREFIX = "CLOUDSTATE_"

# Kubernetes puts the addresses of services into the environment of every container. A service that
# is called "cloudstate" or "cloudstate-host" must not look like a misspelt setting.
_SERVICE_LINK_NAME = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)
_SERVICE_LINK_VALUE = re.compile(r"^(tcp|udp|sctp)://")


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Section `host`: how a user function is served to a proxy.

    Attributes:
        host: Address to listen on. Whoever can reach it can speak to the entities.
        port: Port to listen on; 0 takes a free one.
        drain_grace_s: How long commands that run may take to end when the process is told to stop.
        max_message_bytes: Largest message in either direction.
        max_streams: Most streams at a time; one active entity has one stream.
        max_workers: Threads for handlers that block.
        keepalive_interval_s: A connection that was silent for so long is asked for a sign of life.
        keepalive_timeout_s: How long the sign of life may take until the connection is closed.
        proxy: Where the proxy's front door is, for what handlers ask of other services.
        service_name: What to call this user function; the name of its first service if empty.
        service_version: Its version, for people.
    """

    host: Annotated[str, Env("HOST")] = "127.0.0.1"
    port: Annotated[int, Between(0, 65535), Env("PORT")] = 8080
    drain_grace_s: Annotated[float, Between(0, 3600)] = 10.0
    max_message_bytes: Annotated[int, Between(1024, 1024**3)] = 12 * 1024 * 1024
    max_streams: Annotated[int, Between(1, 1_000_000)] = 20_000
    max_workers: Annotated[int, Between(1, 1000)] = 32
    keepalive_interval_s: Annotated[float, Between(1, 86_400)] = 30.0
    keepalive_timeout_s: Annotated[float, Between(1, 3600)] = 10.0
    proxy: str = "127.0.0.1:9000"
    service_name: str = ""
    service_version: str = ""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Section `log`: what is logged, and in which form.

    Attributes:
        level: The least severe messages that are logged.
        format: "console" for people, "json" for machines, "auto" for whichever reads the output.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """Section `plugins`.

    Attributes:
        disabled: Names of installed plugins that are not to be loaded.
    """

    disabled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SettingsSection:
    """A section that a plugin adds.

    Attributes:
        name: The section's name: one lower-case word, unique in the process.
        type: A frozen dataclass with a default for every field.
    """

    name: str
    type: type


#: The sections that are there whatever is installed.
CORE_SECTIONS: Mapping[str, type] = {
    "host": HostSettings,
    "log": LogSettings,
    "plugins": PluginSettings,
}


def load(
    section_types: Mapping[str, type],
    file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, Mapping[str, object]],
    *,
    partial: bool = False,
) -> dict[str, object]:
    """Return an instance of each section's dataclass, by the section's name.

    Args:
        section_types: The dataclass of each section that may occur.
        file: The TOML file, or None for none. It must exist.
        environ: The environment.
        flags: The strongest values, by section and key; None counts as not given.
        partial: Whether sections that are not in `section_types` are somebody else's affair. They
            are an error otherwise, in the file and in the environment.

    Raises:
        SettingsError: Naming the first key that is unknown or has a value that cannot be used, and
            where it stands.
        PluginError: A section's type is no dataclass with a default for every field.
    """
    hints = {name: _hints(name, type_) for name, type_ in section_types.items()}
    values = _values_of_file(file, hints, partial=partial) if file is not None else {}
    for source in (_values_of_environ(environ, hints, partial=partial), _values_of(flags, hints)):
        for section, given in source.items():
            values.setdefault(section, {}).update(given)
    return {
        name: _construct(name, type_, values.get(name, {})) for name, type_ in section_types.items()
    }


def _hints(name: str, type_: type) -> dict[str, Hint]:
    if not is_dataclass(type_) or any(
        each.default is MISSING and each.default_factory is MISSING for each in fields(type_)
    ):
        raise PluginError(
            f"settings section {name!r}: expected a dataclass with a default for every field, "
            f"found {type_!r}"
        )
    try:
        return hints_of(type_)
    except TypeError as error:
        raise PluginError(f"settings section {name!r}: {error}") from error


def _construct(name: str, type_: type, values: Mapping[str, object]) -> object:
    try:
        return type_(**values)
    except ValueError as error:
        # A dataclass may look at several fields together in its __post_init__.
        raise SettingsError(f"section [{name}]: {error}") from error


def _values_of_file(
    file: Path, hints: Mapping[str, dict[str, Hint]], *, partial: bool
) -> dict[str, dict[str, object]]:
    values: dict[str, dict[str, object]] = {}
    for section, content in _parsed(file).items():
        if section not in hints:
            if partial:
                continue
            raise SettingsError(f"{file}: unknown section {section!r}{_hint(section, hints)}")
        if not isinstance(content, dict):
            raise SettingsError(f"{file}: expected [{section}] to be a section, found {content!r}")
        where = f"{file}, section [{section}]"
        values[section] = {
            key: _checked(where, section, key, value, hints) for key, value in content.items()
        }
    return values


def _parsed(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read settings file {str(file)!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: not UTF-8 at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: not valid TOML: {error}") from error


def _values_of_environ(
    environ: Mapping[str, str], hints: Mapping[str, dict[str, Hint]], *, partial: bool
) -> dict[str, dict[str, object]]:
    values: dict[str, dict[str, object]] = {}
    names: set[str] = set()
    for section, of_section in hints.items():
        for key, hint in of_section.items():
            own = f"{_PREFIX}{section}_{key}".upper().replace("-", "_")
            names.add(own)
            # Its own name is the most specific one, so it wins.
            for name in (own, *hint.env):
                text = environ.get(name, "")
                if not text or _is_service_link(name, text):
                    continue
                where = f"environment variable {name!r}"
                values.setdefault(section, {})[key] = _read(where, text, hint)
                break
    if not partial:
        _refuse_unknown(environ, names)
    return values


def _refuse_unknown(environ: Mapping[str, str], names: set[str]) -> None:
    for name, text in environ.items():
        if name.startswith(_PREFIX) and name not in names and not _is_service_link(name, text):
            raise SettingsError(f"unknown environment variable {name!r}{_hint(name, names)}")


def _is_service_link(name: str, text: str) -> bool:
    if not name.startswith(_PREFIX):
        return False
    return bool(_SERVICE_LINK_NAME.search(name) or _SERVICE_LINK_VALUE.search(text))


def _read(where: str, text: str, hint: Hint) -> object:
    try:
        return typed(from_text(text, hint), hint)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from error


def _values_of(
    flags: Mapping[str, Mapping[str, object]], hints: Mapping[str, dict[str, Hint]]
) -> dict[str, dict[str, object]]:
    return {
        section: {
            key: _checked(f"option for section [{section}]", section, key, value, hints)
            for key, value in given.items()
            if value is not None
        }
        for section, given in flags.items()
    }


def _checked(
    where: str, section: str, key: str, value: object, hints: Mapping[str, dict[str, Hint]]
) -> object:
    known = hints[section]
    if key not in known:
        raise SettingsError(f"{where}: unknown key {key!r}{_hint(key, known)}")
    try:
        return typed(value, known[key])
    except ValueError as error:
        raise SettingsError(f"{where}, key {key!r}: {error}") from error


def _hint(word: str, known: Iterable[str]) -> str:
    names = sorted(known)
    for close in difflib.get_close_matches(word, names, n=1):
        return f"; did you mean {close!r}?"
    return f"; known are {', '.join(names) or 'none'}"
