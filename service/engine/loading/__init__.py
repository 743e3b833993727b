"""Loading: checkpoint directories become the weights that an engine runs."""
