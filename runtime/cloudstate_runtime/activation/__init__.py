"""Live entities: one at a time for each id, one command at a time for each entity."""
