"""From a service's name to the handler of its commands."""
