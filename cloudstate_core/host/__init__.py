"""The user function's half: entities, and the server that a proxy talks to."""
