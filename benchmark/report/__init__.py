"""Reports: stored results in; Markdown, JSON and one HTML page out."""
