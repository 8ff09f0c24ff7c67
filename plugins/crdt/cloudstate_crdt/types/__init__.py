"""The built-in types, a file each."""
