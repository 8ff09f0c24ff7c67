"""The user function, as the runtime sees it: links to it, and what it announces."""
