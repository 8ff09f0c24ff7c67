"""What the page about settings says holds."""

from __future__ import annotations

import re
from pathlib import Path

from cloudstate_core.plugins import load_plugins
from cloudstate_core.settings import load

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"


def test_the_example_is_a_settings_file(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    file = tmp_path / "cloudstate.toml"
    file.write_text(example[1], encoding="utf-8")

    loaded = load(load_plugins().section_types(), file, {}, {})

    assert loaded["runtime"].port == 9001
    assert loaded["runtime"].command_metadata_services == ("shop.Orders",)
    assert not loaded["grpc"].reflection


def test_the_environment_has_the_names_that_the_page_says() -> None:
    names = re.findall(r"`(CLOUDSTATE_\w+)`", PAGE.read_text(encoding="utf-8"))
    values = dict(zip(names, ("9001", "a.B,c.D", "false"), strict=True))

    loaded = load(load_plugins().section_types(), None, values, {})

    assert loaded["runtime"].port == 9001
    assert loaded["runtime"].command_metadata_services == ("a.B", "c.D")
    assert not loaded["grpc"].reflection


def test_every_section_that_is_installed_is_on_the_page() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    assert listed == set(load_plugins().section_types())
