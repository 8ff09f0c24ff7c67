"""What happens to a command once, and what is stored with it: the same in a runtime and a test."""
