"""Services that are there to be measured."""
