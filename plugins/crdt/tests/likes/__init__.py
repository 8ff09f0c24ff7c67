"""Messages of the services that these tests serve."""
