"""Who asks and how much they may use: API keys, roles, rate limits, running requests."""
