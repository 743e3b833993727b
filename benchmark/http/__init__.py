"""HTTP: requests to an OpenAI-compatible server in, answers with timestamps out."""
