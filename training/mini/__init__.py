"""lamm-mini: the small checkpoint that ships, and everything it is made from."""
