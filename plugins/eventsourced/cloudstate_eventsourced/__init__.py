"""The event sourced entity kind."""
