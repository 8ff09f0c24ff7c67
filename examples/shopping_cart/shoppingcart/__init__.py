"""A shopping cart, kept as an event sourced entity."""
