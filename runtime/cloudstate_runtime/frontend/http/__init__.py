"""The front end for HTTP with JSON."""

from __future__ import annotations

from cloudstate_runtime.frontend.http.front import HttpFrontEnd

__all__ = ["HttpFrontEnd"]
