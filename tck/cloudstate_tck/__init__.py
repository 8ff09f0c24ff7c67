"""A conformance suite for Cloudstate user functions and runtimes."""
