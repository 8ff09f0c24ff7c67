"""Rooms, and who is in them, on as many nodes as there are."""
