"""Measurements: each figure beside its echo, in the same run."""
