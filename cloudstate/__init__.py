"""What applications import: generated messages, and how entities are declared."""
