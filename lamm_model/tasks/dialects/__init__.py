"""Dialects: how other models write places, one reader a file, and the frames of their numbers."""
