"""A bank: accounts, transfers between them, and a counter."""
