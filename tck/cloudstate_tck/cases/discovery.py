"""What both sides say of themselves when they meet."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError

from cloudstate.entity_pb2 import EntitySpec, ProxyInfo
from cloudstate_tck.case import Case, Phase
from cloudstate_tck.examination import Examination
from cloudstate_tck.expectations import Mismatch, expect_equal
from cloudstate_tck.protocol import ENTITY_TYPES, PROTOCOL_VERSION

__all__ = ["CASES"]


async def discovery(examination: Examination) -> None:
    """Look at each side that is there."""
    if examination.recorder is not None:
        if examination.proxy_info is None:
            raise Mismatch(
                "the proxy's discovery",
                expected="a discover call since this suite listens",
                found="none: start the proxy after the suite, or restart it",
            )
        expect_proxy_info(examination.proxy_info, examination.conditions.kinds)
    expect_services_are_defined(examination.spec)


def expect_proxy_info(info: ProxyInfo, kinds: frozenset[str]) -> None:
    """Check version and supported entity types.

    All of `kinds` must be supported, and nothing that the protocol does not know.

    Raises:
        Mismatch: If something is missing or too much.
    """
    version = (info.protocol_major_version, info.protocol_minor_version)
    expect_equal("the proxy's protocol version", PROTOCOL_VERSION, version)
    supported = set(info.supported_entity_types)
    missing = {ENTITY_TYPES[kind] for kind in kinds} - supported
    unknown = supported - set(ENTITY_TYPES.values())
    if missing or unknown:
        raise Mismatch(
            "the proxy's supported entity types",
            expected=sorted(ENTITY_TYPES[kind] for kind in kinds),
            found=sorted(supported),
        )


def expect_services_are_defined(spec: EntitySpec) -> None:
    """Check that every announced service is in the announced descriptors.

    Raises:
        Mismatch: If one is not, or the descriptors cannot be read.
    """
    try:
        files = FileDescriptorSet.FromString(spec.proto)
    except DecodeError as error:
        raise Mismatch(
            "EntitySpec.proto",
            expected="a FileDescriptorSet",
            found=f"none: {error}",
        ) from None
    defined = {
        f"{file.package}.{service.name}".lstrip(".")
        for file in files.file
        for service in file.service
    }
    for entity in spec.entities:
        if entity.service_name not in defined:
            raise Mismatch(
                "the services that EntitySpec.proto defines",
                expected=entity.service_name,
                found=sorted(defined),
            )


CASES = (
    Case(
        id="D1",
        title="both sides introduce themselves",
        kind="discovery",
        phase=Phase.DISCOVERY,
        needs=frozenset(),
        run=discovery,
    ),
)
