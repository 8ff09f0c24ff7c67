"""The commands `run`, `proxy` and `parked`."""
