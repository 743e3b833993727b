"""Settings of the service: flags and environment variables, validated once at start-up."""
