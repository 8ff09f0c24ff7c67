"""The front door: one port, and what turns the bytes that arrive there into requests."""

from __future__ import annotations
