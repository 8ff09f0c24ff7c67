"""The commands `run` and `proxy`."""
