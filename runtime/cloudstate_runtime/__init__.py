"""The runtime half of Cloudstate."""
