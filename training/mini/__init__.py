"""lamm-mini: the small checkpoint that ships with LAMM, and how it is made."""
