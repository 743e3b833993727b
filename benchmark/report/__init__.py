"""Reports: stored results become Markdown, JSON and one HTML page."""
