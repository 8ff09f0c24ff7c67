from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Optional

import pytest

from cloudstate_core.errors import PluginError, SettingsError
from cloudstate_core.settings import (
    CORE_SECTIONS,
    Between,
    Env,
    HostSettings,
    LogSettings,
    Secret,
    load,
)


@dataclass(frozen=True, slots=True)
class ShopSettings:
    name: str = "corner"
    port: Annotated[int, Between(0, 65535), Env("SHOP_PORT", "OLD_PORT")] = 9000
    rate: Annotated[float, Between(0, 1)] = 0.5
    is_open: bool = True
    folder: Path = Path("data")
    colours: tuple[str, ...] = ()
    sizes: list[int] | None = None
    owner: Optional[str] = None  # noqa: UP045 - both spellings are accepted
    mode: Literal["fast", "safe"] = "safe"


SHOP = {"shop": ShopSettings}


def file_with(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "cloudstate.toml"
    file.write_text(text, encoding="utf-8")
    return file


def shop(
    file: Path | None = None,
    environ: dict[str, str] | None = None,
    flags: dict[str, dict[str, object]] | None = None,
) -> ShopSettings:
    loaded = load(SHOP, file, environ or {}, flags or {})["shop"]
    assert isinstance(loaded, ShopSettings)
    return loaded


def refusal(
    file: Path | None = None,
    environ: dict[str, str] | None = None,
    flags: dict[str, dict[str, object]] | None = None,
) -> str:
    with pytest.raises(SettingsError) as caught:
        load(SHOP, file, environ or {}, flags or {})
    return str(caught.value)


def test_without_any_source_every_section_has_its_defaults() -> None:
    assert load(CORE_SECTIONS | SHOP, None, {}, {})["shop"] == ShopSettings()
    assert load(CORE_SECTIONS, None, {}, {})["host"] == HostSettings(host="127.0.0.1", port=8080)


def test_a_flag_wins_over_the_environment_that_wins_over_the_file(tmp_path: Path) -> None:
    file = file_with(tmp_path, "[shop]\nport = 1\nname = 'file'\nrate = 0.1\n")
    environ = {"CLOUDSTATE_SHOP_PORT": "2", "CLOUDSTATE_SHOP_NAME": "environment"}

    loaded = shop(file, environ, {"shop": {"port": 3}})

    assert (loaded.port, loaded.name, loaded.rate) == (3, "environment", 0.1)


def test_a_flag_that_was_not_given_changes_nothing() -> None:
    assert shop(None, {"SHOP_PORT": "2"}, {"shop": {"port": None}}).port == 2


def test_the_most_specific_variable_wins() -> None:
    environ = {"OLD_PORT": "1", "SHOP_PORT": "2"}

    assert shop(environ=environ).port == 2
    assert shop(environ=environ | {"CLOUDSTATE_SHOP_PORT": "3"}).port == 3


def test_an_empty_variable_counts_as_not_set() -> None:
    assert shop(environ={"SHOP_PORT": "", "OLD_PORT": "7"}).port == 7
    assert shop(environ={"CLOUDSTATE_SHOP_NAME": ""}).name == "corner"


def test_host_and_port_are_the_variables_of_the_protocol() -> None:
    host = load(CORE_SECTIONS, None, {"HOST": "127.0.0.2", "PORT": "1234"}, {})["host"]

    assert host == HostSettings(host="127.0.0.2", port=1234)


def test_a_file_may_hold_every_type(tmp_path: Path) -> None:
    file = file_with(
        tmp_path,
        "[shop]\nname='n'\nport=0\nrate=1\nis_open=false\nfolder='d/e'\ncolours=['r','g']\n"
        "sizes=[1,2]\nowner='o'\nmode='fast'\n",
    )

    assert shop(file) == ShopSettings(
        "n", 0, 1.0, False, Path("d/e"), ("r", "g"), [1, 2], "o", "fast"
    )


def test_the_environment_may_hold_every_type() -> None:
    given = {
        "name": "n",
        "port": "65535",
        "rate": "1e-3",
        "is_open": "No",
        "folder": "/d",
        "colours": "r, g,,",
        "sizes": "1,2",
        "owner": "o",
        "mode": "fast",
    }
    environ = {f"CLOUDSTATE_SHOP_{key.upper()}": value for key, value in given.items()}

    assert shop(environ=environ) == ShopSettings(
        "n", 65535, 0.001, False, Path("/d"), ("r", "g"), [1, 2], "o", "fast"
    )


def test_a_flag_may_be_what_a_command_line_gives() -> None:
    flags: dict[str, dict[str, object]] = {"shop": {"folder": Path("x"), "colours": ("a", "b")}}

    assert (shop(flags=flags).folder, shop(flags=flags).colours) == (Path("x"), ("a", "b"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("port = '80'", "expected an integer, found '80'"),
        ("port = 1.0", "expected an integer, found 1.0"),
        ("port = true", "expected an integer, found True"),
        ("port = 65536", "expected a value between 0 and 65535, found 65536"),
        ("port = -1", "expected a value between 0 and 65535, found -1"),
        ("rate = inf", "expected a finite number, found inf"),
        ("rate = nan", "expected a finite number, found nan"),
        (f"rate = 1{'0' * 400}", "expected a finite number"),
        ("rate = '1'", "expected a finite number, found '1'"),
        ("is_open = 1", "expected true or false, found 1"),
        ("name = 5", "expected text, found 5"),
        ("folder = ''", "expected a path, found ''"),
        ('folder = "a\\u0000b"', "expected a path"),
        ("colours = 'red'", "expected a list, found 'red'"),
        ("colours = ['red', 1]", "expected text, found 1"),
        ("sizes = {a = 1}", "expected a list"),
        ("mode = 'slow'", "expected one of fast, safe, found 'slow'"),
        ("owner = []", "expected text, found []"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_with_its_place(
    tmp_path: Path, line: str, expected: str
) -> None:
    file = file_with(tmp_path, f"[shop]\n{line}\n")

    message = refusal(file)

    key = line.partition(" ")[0]
    assert message.startswith(f"{file}, section [shop], key {key!r}: ")
    assert expected in message


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("SHOP_PORT", "abc", "expected an integer, found 'abc'"),
        ("SHOP_PORT", "1.5", "expected an integer, found 1.5"),
        ("SHOP_PORT", "9" * 5000, "expected an integer"),
        ("SHOP_PORT", "99999", "expected a value between"),
        ("CLOUDSTATE_SHOP_RATE", "inf", "expected a finite number, found inf"),
        ("CLOUDSTATE_SHOP_IS_OPEN", "maybe", "expected true or false, found 'maybe'"),
        ("CLOUDSTATE_SHOP_SIZES", "1,x", "expected an integer, found 'x'"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(name: str, text: str, expected: str) -> None:
    message = refusal(environ={name: text})

    assert message.startswith(f"environment variable {name!r}: ")
    assert expected in message


def test_a_secret_that_cannot_be_used_is_not_shown() -> None:
    @dataclass(frozen=True)
    class Guarded:
        word: Annotated[str, Secret()] = field(default="", repr=False)
        open_: str = ""

    Guarded.__annotations__ = {"word": Annotated[str, Secret()], "open_": str}

    with pytest.raises(SettingsError, match="key 'word': expected text") as refused:
        load({"guarded": Guarded}, None, {}, {"guarded": {"word": 31415}})
    assert "31415" not in str(refused.value)
    with pytest.raises(SettingsError, match="31415"):  # a control: other values are
        load({"guarded": Guarded}, None, {}, {"guarded": {"open_": 31415}})


def test_an_unknown_key_is_an_error_with_what_was_probably_meant(tmp_path: Path) -> None:
    file = file_with(tmp_path, "[shop]\nprot = 1\n")

    assert refusal(file) == f"{file}, section [shop]: unknown key 'prot'; did you mean 'port'?"


def test_an_unknown_section_is_an_error_with_what_is_known(tmp_path: Path) -> None:
    file = file_with(tmp_path, "[zzz]\nport = 1\n")

    assert refusal(file) == f"{file}: unknown section 'zzz'; known are shop"


def test_a_value_outside_every_section_is_an_error(tmp_path: Path) -> None:
    assert "expected [shop] to be a section, found 1" in refusal(file_with(tmp_path, "shop = 1"))


def test_an_unknown_variable_of_ours_is_an_error() -> None:
    message = refusal(environ={"CLOUDSTATE_SHOP_PROT": "1", "SHOP_PROT": "2"})

    assert message == (
        "unknown environment variable 'CLOUDSTATE_SHOP_PROT'; did you mean 'CLOUDSTATE_SHOP_PORT'?"
    )


def test_an_unknown_flag_is_an_error() -> None:
    assert "option for section [shop]: unknown key 'prot'" in refusal(flags={"shop": {"prot": 1}})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CLOUDSTATE_SERVICE_HOST", "127.0.0.1"),
        ("CLOUDSTATE_SHOP_SERVICE_PORT", "9000"),
        ("CLOUDSTATE_SERVICE_PORT_HTTP", "9000"),
        ("CLOUDSTATE_PORT", "tcp://127.0.0.1:9000"),
        ("CLOUDSTATE_PORT_9000_TCP", "tcp://127.0.0.1:9000"),
        ("CLOUDSTATE_PORT_9000_TCP_ADDR", "127.0.0.1"),
        # A service that is called "cloudstate-shop": its link has the name of a setting.
        ("CLOUDSTATE_SHOP_PORT", "tcp://127.0.0.1:9000"),
    ],
)
def test_service_links_of_kubernetes_are_no_settings(name: str, text: str) -> None:
    assert shop(environ={name: text}) == ShopSettings()


def test_a_partial_load_leaves_other_sections_to_others(tmp_path: Path) -> None:
    file = file_with(tmp_path, "[shop]\nport = 1\n[elsewhere]\nx = 1\n")
    environ = {"CLOUDSTATE_ELSEWHERE_X": "2"}

    loaded = load(SHOP, file, environ, {}, partial=True)

    assert loaded == {"shop": ShopSettings(port=1)}


def test_a_partial_load_still_checks_its_own_sections(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="unknown key 'x'"):
        load(SHOP, file_with(tmp_path, "[shop]\nx = 1"), {}, {}, partial=True)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[shop\nport = 1", "not valid TOML"),
        (b"[shop]\nport = 1\nport = 2", "not valid TOML"),
        (b"[shop]\nname = '\xff'", "not UTF-8 at byte 15"),
    ],
)
def test_a_file_that_cannot_be_read_as_toml_is_named(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    file = tmp_path / "broken.toml"
    file.write_bytes(content)

    assert refusal(file).startswith(f"{file}: {expected}")


def test_a_file_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "missing.toml"

    assert refusal(file) == f"cannot read settings file {str(file)!r}: No such file or directory"
    assert "Is a directory" in refusal(tmp_path)


def test_a_section_may_judge_its_values_together() -> None:
    @dataclass(frozen=True)
    class Range:
        low: int = 1
        high: int = 2

        def __post_init__(self) -> None:
            if self.low > self.high:
                raise ValueError(f"expected low <= high, found {self.low} > {self.high}")

    with pytest.raises(SettingsError, match=r"^section \[range\]: expected low <= high"):
        load({"range": Range}, None, {"CLOUDSTATE_RANGE_LOW": "3"}, {})


@dataclass(frozen=True)
class WithoutDefault:
    port: int


@dataclass(frozen=True)
class OfForeignType:
    port: complex = 1j


@dataclass(frozen=True)
class OfTwoTypes:
    port: int | str = 1


class NoDataclass:
    port: int = 1


@pytest.mark.parametrize("type_", [WithoutDefault, OfForeignType, OfTwoTypes, NoDataclass])
def test_a_plugin_with_settings_of_an_unusable_type_is_at_fault(type_: type) -> None:
    with pytest.raises(PluginError, match="settings section 'odd'"):
        load({"odd": type_}, None, {}, {})


def test_every_limit_of_the_host_is_finite() -> None:
    with pytest.raises(SettingsError, match="max_streams"):
        load(CORE_SECTIONS, None, {}, {"host": {"max_streams": -1}})
    with pytest.raises(SettingsError, match="finite"):
        load(CORE_SECTIONS, None, {"CLOUDSTATE_HOST_DRAIN_GRACE_S": "inf"}, {})


def test_log_settings_accept_only_known_words() -> None:
    loaded = load(CORE_SECTIONS, None, {"CLOUDSTATE_LOG_LEVEL": "debug"}, {})["log"]

    assert loaded == LogSettings(level="debug")
    with pytest.raises(SettingsError, match="expected one of debug, info, warning, error"):
        load(CORE_SECTIONS, None, {"CLOUDSTATE_LOG_LEVEL": "loud"}, {})
