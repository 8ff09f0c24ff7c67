"""The value entity kind."""
