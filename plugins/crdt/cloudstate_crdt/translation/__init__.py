"""Between replicated states and what the protocol says of them, in both directions; pure."""
