"""The cases: one module for each kind of entity and each side."""
