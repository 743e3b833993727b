"""Settings of the service: flags and environment variables, checked once at start-up."""
