"""Readers of pictures: their formats, headers, orientation, and what is refused by name."""
