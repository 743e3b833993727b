"""Start-up: settings become engines, media pools and served models."""
