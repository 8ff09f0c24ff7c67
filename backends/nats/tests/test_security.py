"""Real servers that ask for TLS, for certificates and passwords; and what is not told to others."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import structlog
import trustme
from cryptography.hazmat.primitives import serialization as form

from cloudstate_core.clock import SystemClock
from cloudstate_core.errors import SettingsError, TransportUnavailable
from cloudstate_core.settings import load
from cloudstate_core.testing.transport_contract import Heard
from cloudstate_nats import NatsBackend, NatsSettings, security
from cloudstate_nats.testing import NatsServer, start_nats_server

QUICK = {"reconnect_wait_s": 0.01, "connect_timeout_s": 2.0}
#: Where a refusal is expected, which nothing but the end of this time shows.
SHORT = {**QUICK, "connect_timeout_s": 0.5}

SECRET = "open-sesame"  # of no use anywhere


class Files(NamedTuple):
    """Certificates, on disk: of one authority, and of another one that nobody knows."""

    ca: str
    stranger: str
    server: tuple[str, str]
    elsewhere: tuple[str, str]
    node: tuple[str, str]
    node_in_one: str


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("certificates")
    ca, stranger = trustme.CA(), trustme.CA()

    def written(name: str, blob: trustme.Blob) -> str:
        path = folder / name
        blob.write_to_path(path)
        return str(path)

    def pair(name: str, certificate: trustme.LeafCert) -> tuple[str, str]:
        return (
            written(f"{name}.pem", certificate.cert_chain_pems[0]),
            written(f"{name}.key", certificate.private_key_pem),
        )

    node = ca.issue_cert("node@shop.example")
    return Files(
        ca=written("ca.pem", ca.cert_pem),
        stranger=written("stranger.pem", stranger.cert_pem),
        server=pair("server", ca.issue_cert("127.0.0.1")),
        elsewhere=pair("elsewhere", ca.issue_cert("nats.shop.example")),
        node=pair("node", node),
        node_in_one=written("node-in-one.pem", node.private_key_and_cert_chain_pem),
    )


def with_tls(certificate: tuple[str, str], *options: str) -> tuple[str, ...]:
    return ("--tls", "--tlscert", certificate[0], "--tlskey", certificate[1], *options)


@pytest.fixture(scope="module")
def secured(files: Files) -> Iterator[NatsServer]:
    with start_nats_server(*with_tls(files.server)) as server:
        yield server


def connect(server: NatsServer | str, node: str = "a", **settings: object):
    address = server if isinstance(server, str) else server.address
    chosen = NatsSettings(**{**QUICK, **settings})  # type: ignore[arg-type]
    return NatsBackend().open(chosen, address, node, SystemClock())


async def refusal(server: NatsServer | str, **settings: object) -> str:
    """Return why a server cannot be used."""
    with pytest.raises(TransportUnavailable) as failed:
        async with connect(server, **{**SHORT, **settings}):
            pass
    return str(failed.value)


# --- TLS -----------------------------------------------------------------------------


async def test_nodes_hear_each_other_over_tls_also_after_the_server_was_away(
    files: Files, secured: NatsServer
) -> None:
    heard, told = Heard(), asyncio.Event()
    async with (
        connect(secured, tls=True, ca_file=files.ca) as a,
        connect(secured, "b", tls=True, ca_file=files.ca) as b,
        b.listen("t", heard),
    ):
        await a.send("b", "t", b"1")
        assert await heard.until(1) == [("a", b"1")]
        with b.on_gap(told.set):
            await asyncio.to_thread(secured.restart)
            async with asyncio.timeout(20):
                await told.wait()
                while ("a", b"2") not in heard.messages:
                    await a.send("b", "t", b"2")
                    await asyncio.sleep(0.01)


async def test_a_server_of_an_authority_that_nobody_knows_is_refused(
    files: Files, secured: NatsServer
) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in await refusal(secured, ca_file=files.stranger)
    assert "CERTIFICATE_VERIFY_FAILED" in await refusal(secured)


async def test_a_server_with_the_certificate_of_another_host_is_refused(files: Files) -> None:
    with start_nats_server(*with_tls(files.elsewhere)) as impostor:
        assert "CERTIFICATE_VERIFY_FAILED" in await refusal(impostor, ca_file=files.ca)


async def test_a_server_without_tls_is_refused_where_tls_is_demanded(
    files: Files, server: NatsServer
) -> None:
    assert "does not ask for TLS" in await refusal(server, tls=True, ca_file=files.ca)
    async with connect(server, ca_file=files.ca):
        pass  # nothing is demanded


async def test_a_server_that_has_lost_its_tls_is_not_used_and_the_log_says_why(
    files: Files, tmp_path: Path
) -> None:
    with start_nats_server(*with_tls(files.server)) as secured:
        port = secured.address.rpartition(":")[2]
        with structlog.testing.capture_logs() as logged:
            async with connect(secured, tls=True, ca_file=files.ca) as a:
                secured.stop()
                changed = NatsServer(tmp_path, ["-p", port])
                await asyncio.to_thread(changed.start)
                try:
                    async with asyncio.timeout(20):
                        while not any("ask for TLS" in each.get("reason", "") for each in logged):
                            a._logged_at_s.clear()
                            await asyncio.sleep(0.01)
                    assert not a._client.is_connected
                finally:
                    changed.stop()

    assert "nats_reconnected" not in [each["event"] for each in logged]


@pytest.mark.parametrize("in_one", [False, True])
async def test_a_server_may_ask_for_a_certificate(files: Files, in_one: bool) -> None:
    mine = dict(zip(("cert_file", "key_file"), files.node, strict=True))
    if in_one:
        mine = {"cert_file": files.node_in_one}
    options = with_tls(files.server, "--tlsverify", "--tlscacert", files.ca)
    with start_nats_server(*options) as guarded:
        async with connect(guarded, ca_file=files.ca, **mine):
            pass
        await refusal(guarded, ca_file=files.ca)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_file_without_a_usable_key_is_named(
    files: Files, secured: NatsServer, tmp_path: Path, encrypted: bool
) -> None:
    key = files.ca
    if encrypted:
        key = str(tmp_path / "encrypted.key")
        Path(key).write_bytes(_encrypted(Path(files.node[1])))

    with pytest.raises(SettingsError, match=r"\[nats\], key 'key_file'"):
        async with connect(secured, cert_file=files.node[0], key_file=key):
            pass


def _encrypted(path: Path) -> bytes:
    key = form.load_pem_private_key(path.read_bytes(), None)
    how = form.BestAvailableEncryption(b"of the key")
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, how)


# --- Passwords and tokens ------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "right", "wrong"),
    [
        (("--user", "joe", "--pass", SECRET), {"user": "joe", "password": SECRET}, {}),
        (
            ("--user", "joe", "--pass", SECRET),
            {"user": "joe", "password": SECRET},
            {"user": "joe", "password": "another"},
        ),
        (("--auth", SECRET), {"token": SECRET}, {"token": "another"}),
    ],
)
async def test_a_server_that_asks_for_secrets_gets_them_from_the_settings(
    options: tuple[str, ...], right: dict[str, str], wrong: dict[str, str]
) -> None:
    with start_nats_server(*options) as guarded, structlog.testing.capture_logs() as logged:
        async with connect(guarded, **right):
            pass
        told = await refusal(guarded, **wrong)

    assert "authorization" in told.lower()
    assert SECRET not in told + repr(logged)


@asynccontextmanager
async def eavesdropper() -> AsyncIterator[tuple[str, list[bytes]]]:
    """Have something that asks for a password, and keeps what it is told."""
    told: list[bytes] = []
    info = {"server_id": "x", "version": "2.12.0", "max_payload": 1024, "auth_required": True}

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        told.append(await reader.read(1024))
        writer.close()

    listening = await asyncio.start_server(ask, "127.0.0.1", 0)
    async with listening:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}", told


IN_THE_SETTINGS = {"user": "joe", "password": SECRET}
IN_A_TOKEN = {"token": SECRET}


@pytest.mark.parametrize(
    ("before", "settings"),
    [("", IN_THE_SETTINGS), ("", IN_A_TOKEN), (f"joe:{SECRET}@", {}), (f"{SECRET}@", {})],
)
async def test_another_machine_is_told_no_secret_without_tls(
    monkeypatch: pytest.MonkeyPatch, before: str, settings: dict[str, str]
) -> None:
    async with eavesdropper() as (host, told):
        address = f"nats://{before}{host}"
        await refusal(address, **settings)
        assert any(SECRET.encode() in each for each in told)  # this machine is

        monkeypatch.setattr(security, "_is_loopback", lambda _: False)
        told.clear()
        reason = await refusal(address, **settings)
        assert "could read the password" in reason
        assert SECRET not in reason
        assert set(told) <= {b""}

        await refusal(address, allow_clear_text_secrets=True, **settings)
        assert any(SECRET.encode() in each for each in told)


async def test_another_machine_may_be_told_secrets_over_tls_and_all_else_without(
    monkeypatch: pytest.MonkeyPatch, files: Files, server: NatsServer
) -> None:
    monkeypatch.setattr(security, "_is_loopback", lambda _: False)
    options = with_tls(files.server, "--user", "joe", "--pass", SECRET)
    with start_nats_server(*options) as guarded:
        async with connect(guarded, ca_file=files.ca, **IN_THE_SETTINGS):
            pass
    async with connect(server):
        pass


@pytest.mark.parametrize(
    ("address", "is_this_machine"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("10.0.0.1", False), ("", False)],
)
def test_what_is_this_machine(address: str, is_this_machine: bool) -> None:
    assert security._is_loopback(address) == is_this_machine


# --- Settings ------------------------------------------------------------------------


def test_secrets_are_shown_nowhere(tmp_path: Path) -> None:
    settings = NatsSettings(user="joe", password=SECRET)
    assert SECRET not in repr(settings) + repr(NatsSettings(token=SECRET))

    file = tmp_path / "cloudstate.toml"
    for key in ("password", "token"):
        file.write_text(f"[nats]\n{key} = 31415926\n")
        with pytest.raises(SettingsError, match=f"key '{key}': expected text") as refused:
            load({"nats": NatsSettings}, file, {}, {})
        assert "31415926" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"user": "joe"}, "key 'user': expected 'password' beside it"),
        ({"password": SECRET}, "key 'password': expected 'user' beside it"),
        ({"token": SECRET, **IN_THE_SETTINGS}, "keys 'user' and 'token': expected one of them"),
        ({"token": SECRET, "credentials_file": "x"}, "keys 'token' and 'credentials_file'"),
        ({"key_file": "x"}, "key 'key_file': expected 'cert_file' beside it"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)) as refused:
        NatsSettings(**settings)  # type: ignore[arg-type]
    assert SECRET not in str(refused.value)
