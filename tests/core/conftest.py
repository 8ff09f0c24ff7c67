"""What the tests of the core share: a kind that a stranger might have written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

INSTALLED = Path(__file__).parent / "installed"
sys.path.append(str(INSTALLED))

from cloudstate_core.plugins import PluginInfo, Plugins  # noqa: E402


@pytest.fixture
def plugins() -> Plugins:
    """What is registered if the chat kind is the only plugin."""
    from chat_kind.plugin import ChatKind

    info = PluginInfo("chat", "chat-kind", "1.0", ("kind chat",))
    return Plugins(kinds={"chat": ChatKind()}, installed=(info,))


@pytest.fixture
def logged() -> Iterator[list[dict[str, object]]]:
    """What is logged during the test."""
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH in which the chat kind is an installed distribution."""
    folder = tmp_path / "site"
    metadata = folder / "chat_kind-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: chat-kind\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[cloudstate]\nchat = chat_kind.plugin\n")
    (folder / "chat_kind").symlink_to(INSTALLED / "chat_kind")
    return folder
