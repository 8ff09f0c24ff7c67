"""Bringing the changes of each node to all others."""
