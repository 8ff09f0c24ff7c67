"""What outlives a request: messages between entities, and the answers that are remembered."""
