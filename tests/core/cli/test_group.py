from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudstate_core.cli.setup import named_config


def test_help_names_every_command(run) -> None:
    code, out, err = run("--help")

    assert (code, err) == (0, "")
    assert "serve" in out
    assert "plugins" in out


def test_the_version_is_told(run_here) -> None:
    code, out, _ = run_here("--version")

    assert code == 0
    assert out.startswith("cloudstate 0.")


@pytest.mark.parametrize(
    ("line", "file"),
    [
        (["serve", "--config", "a.toml", "x:y"], "a.toml"),
        (["--config=b.toml", "serve"], "b.toml"),
        (["serve", "x:y"], None),
        (["serve", "--", "--config", "a.toml"], None),
        (["serve", "--config"], None),
    ],
)
def test_the_settings_file_may_be_named_anywhere(line: list[str], file: str | None) -> None:
    assert named_config(line) == (Path(file) if file else None)


def test_an_unknown_command_is_an_error_with_usage(run_here) -> None:
    code, _, err = run_here("swerve")

    assert code == 2
    assert "No such command 'swerve'" in err


def one_line(err: str) -> str:
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    return err.strip()


def test_a_plugin_that_does_not_import_is_one_line_and_exit_code_2(run, site: Path) -> None:
    metadata = site / "bad-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-kind\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[cloudstate]\nbad = no_such_module\n")

    code, _, err = run("plugins")

    assert code == 2
    assert "plugin 'bad' of distribution 'bad-kind': does not import" in one_line(err)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[host]\nprot = 1", "unknown key 'prot'; did you mean 'port'?"),
        ("[hots]\nport = 1", "unknown section 'hots'; did you mean 'host'?"),
        ("[host", "not valid TOML"),
        ("[plugins]\ndisabled = ['no-such']", "cannot disable plugin 'no-such': not installed"),
        ("[plugins]\ndisabled = 'core'", "expected a list, found 'core'"),
    ],
)
def test_a_mistake_in_the_settings_is_one_line_and_exit_code_2(
    run_here, folder: Path, text: str, expected: str
) -> None:
    file = folder / "cloudstate.toml"
    file.write_text(text if "[plugins]" in text else file.read_text() + text)

    code, out, err = run_here("serve", "rooms:entity")

    assert (code, out) == (2, "")
    assert expected in one_line(err)


def test_a_named_file_must_exist(run_here) -> None:
    code, _, err = run_here("serve", "--config", "missing.toml", "rooms:entity")

    assert code == 2
    assert "cannot read settings file 'missing.toml'" in one_line(err)


def test_an_error_shows_no_control_characters(run_here) -> None:
    code, _, err = run_here("serve", "x:\x1b[2J\n")

    assert code == 2
    assert "\x1b" not in one_line(err)


def test_the_abandoned_library_beside_ours_is_an_error(run_here, site: Path) -> None:
    metadata = site / "cloudstate-0.1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: cloudstate\nVersion: 0.1.2\n")

    code, _, err = run_here("--help")

    assert code == 2
    assert "distribution 'cloudstate' 0.1.2" in one_line(err)
    assert "pip uninstall cloudstate" in err


def test_plugins_are_listed_with_what_they_add(run_here) -> None:
    code, out, err = run_here("plugins")

    assert (code, err) == (0, "")
    chat = next(line for line in out.splitlines() if "chat-kind" in line)
    assert chat.split() == ["chat", "chat-kind", "1.0", "kind", "chat"]
    assert "store memory" in out
    assert "command serve" in out
    assert "instrument LogInstrument" in out


def test_plugins_are_listed_as_json(run_here, folder: Path) -> None:
    file = folder / "cloudstate.toml"
    file.write_text(file.read_text().replace("disabled = [", "disabled = ['chat', "))

    code, out, _ = run_here("plugins", "--json")

    chat = next(each for each in json.loads(out) if each["name"] == "chat")
    assert code == 0
    assert chat == {
        "name": "chat",
        "distribution": "chat-kind",
        "version": "1.0",
        "registers": [],
        "enabled": False,
    }
