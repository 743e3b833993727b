"""A request enters at `endpoints`, is planned, runs in `engine`, and leaves as an answer."""
