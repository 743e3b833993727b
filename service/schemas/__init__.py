"""Request and response bodies, typed and bounded."""
