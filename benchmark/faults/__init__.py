"""Fault tests: injected faults in, checks of the service's promises out."""
