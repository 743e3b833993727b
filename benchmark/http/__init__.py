"""HTTP: requests to an OpenAI-compatible server, answers with timestamps."""
