"""The services a user function offers to be examined, as generated messages."""
