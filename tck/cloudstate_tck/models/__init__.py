"""A user function with the model entities, written with the application API of Cloudstate."""
