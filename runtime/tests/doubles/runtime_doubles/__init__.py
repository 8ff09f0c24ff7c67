"""Doubles of what stands around a runtime: user functions, kinds, engines, links."""

from __future__ import annotations
