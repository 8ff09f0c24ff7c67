"""What `cloudstate_core.testing.EntityKit` is made of: a runtime small enough for a test."""

from __future__ import annotations
