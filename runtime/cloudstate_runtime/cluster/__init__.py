"""This node among others: who belongs to the cluster, and how each learns of it."""

from __future__ import annotations
