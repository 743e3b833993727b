"""The published LAMM dataset: its files, their record types, and checks of a copy."""
