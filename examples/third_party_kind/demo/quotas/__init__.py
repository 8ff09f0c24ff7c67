"""A service that is limited: units to spend, for every API key."""
