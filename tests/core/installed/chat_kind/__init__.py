"""A small kind, as a stranger would write it: what the host's tests serve.

Its protocol is one stream of text each way. What a message starts with says what the user
function's end does: see `Chat.receive`.
"""
