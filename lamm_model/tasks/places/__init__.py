"""Tasks whose answers have places: how these are written, and one `parse` and `score` for all."""
