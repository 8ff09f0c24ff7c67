"""The settings of section [runtime] that say more than a number."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudstate_core.errors import SettingsError
from cloudstate_core.settings import load
from cloudstate_runtime.settings import RuntimeSettings


def settings(text: str, folder: Path, environ: dict[str, str] | None = None) -> RuntimeSettings:
    file = folder / "cloudstate.toml"
    file.write_text(text, encoding="utf-8")
    loaded = load({"runtime": RuntimeSettings}, file, environ or {}, {})["runtime"]
    assert isinstance(loaded, RuntimeSettings)
    return loaded


def test_no_service_gets_metadata_unless_it_is_named(tmp_path: Path) -> None:
    none = settings("[runtime]", tmp_path)
    one = settings('[runtime]\ncommand_metadata_services = ["shop.Orders"]', tmp_path)
    every = settings('[runtime]\ncommand_metadata_services = ["*"]', tmp_path)

    asked = ("shop.Orders", "shop.Order", "shop.Orders.More")
    assert [none.passes_command_metadata(name) for name in asked] == [False] * 3
    assert [one.passes_command_metadata(name) for name in asked] == [True, False, False]
    assert [every.passes_command_metadata(name) for name in asked] == [True] * 3


def test_services_can_be_named_in_the_environment(tmp_path: Path) -> None:
    name = "CLOUDSTATE_RUNTIME_COMMAND_METADATA_SERVICES"

    assert settings("", tmp_path, {name: "a.B, c.D"}).command_metadata_services == ("a.B", "c.D")


@pytest.mark.parametrize("name", ["", "shop.*", "/shop.Orders", "shop.Orders/Place", ".a", "ä.B"])
def test_what_cannot_be_a_service_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"section \[runtime\].*expected the full name") as told:
        settings(f'[runtime]\ncommand_metadata_services = ["a.B", "{name}"]', tmp_path)

    assert repr(name) in str(told.value)
