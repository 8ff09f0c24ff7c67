"""A user function written straight against the protocol, without a library.

It is the correct neighbour of the hostile entities, and what negative controls are derived from.
"""
