from __future__ import annotations

import os
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from cloudstate_core.cli import protos

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
    "wheel"
]["force-include"]


def test_protoc_finds_there_what_an_applications_protos_import(run_here) -> None:
    code, out, err = run_here("protos")

    assert (code, err) == (0, "")
    folders = [Path(folder) for folder in out.strip().split(os.pathsep)]
    for proto in ("cloudstate/entity_key.proto", "google/api/annotations.proto"):
        assert [folder for folder in folders if (folder / proto).is_file()], proto


def test_every_proto_of_the_protocol_is_shipped_beside_its_module() -> None:
    sources = {f"protos/cloudstate/{path.name}" for path in ROOT.glob("protos/cloudstate/*.proto")}

    assert {source: source.removeprefix("protos/") for source in sources} == SHIPPED
    for proto in SHIPPED.values():
        assert (ROOT / f"{proto.removesuffix('.proto')}_pb2.py").is_file()


def test_protos_that_have_been_lost_are_missed(monkeypatch: pytest.MonkeyPatch, run_here) -> None:
    def absent(name: str) -> object:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(protos, "distribution", absent)

    code, _, err = run_here("protos")

    assert code == 2
    assert err == (
        "error: 'cloudstate/entity_key.proto' is not installed: "
        "pip install --force-reinstall cloudstate-core\n"
    )
