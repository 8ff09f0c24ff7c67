"""The generator's own steps: what it rewrites, and how it finds files that are not its own."""

from __future__ import annotations

from pathlib import Path

import generate_protos
import pytest
from generate_protos import TARGETS, Target

TCK = next(target for target in TARGETS if target.package == "cloudstate_tck.model")
PROTO = generate_protos.ROOT / "protos/cloudstate/tck/model/action.proto"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that holds exactly what is expected."""
    for target in TARGETS:
        (tmp_path / target.output).mkdir(parents=True)
    for path, text in EXPECTED.items():
        (tmp_path / path).write_text(text)
    (tmp_path / "cloudstate/__init__.py").write_text("written by hand")
    return tmp_path


EXPECTED = {Path("cloudstate/entity_pb2.py"): "one\n", Path("cloudstate/entity_pb2.pyi"): "two\n"}


def test_a_checkout_as_generated_has_no_differences(checkout: Path) -> None:
    assert generate_protos.differences(checkout, EXPECTED) == []


def test_an_edited_file_is_a_difference(checkout: Path) -> None:
    (checkout / "cloudstate/entity_pb2.py").write_text("one, by hand\n")

    (line,) = generate_protos.differences(checkout, EXPECTED)

    assert line == "cloudstate/entity_pb2.py: differs from what its proto generates"


def test_a_missing_file_is_a_difference(checkout: Path) -> None:
    (checkout / "cloudstate/entity_pb2.pyi").unlink()

    assert generate_protos.differences(checkout, EXPECTED) == ["cloudstate/entity_pb2.pyi: missing"]


def test_a_file_whose_proto_has_gone_is_a_difference(checkout: Path) -> None:
    (checkout / "tck/cloudstate_tck/model/old_pb2_grpc.py").write_text("")

    (line,) = generate_protos.differences(checkout, EXPECTED)

    assert line == "tck/cloudstate_tck/model/old_pb2_grpc.py: no proto generates it"


def test_a_moved_module_imports_its_neighbours_from_where_they_are() -> None:
    text = "from cloudstate.tck.model import action_pb2\nfrom cloudstate import entity_pb2\n"

    moved = generate_protos.finished(text, PROTO, TCK)

    assert "from cloudstate_tck.model import action_pb2\n" in moved
    assert "from cloudstate import entity_pb2\n" in moved


def test_a_moved_module_keeps_the_descriptors_that_the_wire_knows() -> None:
    text = "AddFile(b'cloudstate.tck.model.action'), 'cloudstate.tck.model.action_pb2'\n"

    moved = generate_protos.finished(text, PROTO, TCK)

    assert "AddFile(b'cloudstate.tck.model.action'), 'cloudstate_tck.model.action_pb2'" in moved


def test_the_stub_declares_every_service_of_the_proto() -> None:
    compiled = "from google.protobuf import descriptor as _descriptor\n"
    services = generate_protos.service_names(PROTO)

    stub = generate_protos.service_stubs(compiled, services)

    assert stub.splitlines() == [
        "_ACTIONTCKMODEL: _descriptor.ServiceDescriptor",
        "_ACTIONTWO: _descriptor.ServiceDescriptor",
    ]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.package)
def test_every_target_has_protos_and_a_place_for_them(target: Target) -> None:
    assert list((generate_protos.ROOT / target.sources).glob(target.files))
    assert (generate_protos.ROOT / target.output / "__init__.py").exists()
