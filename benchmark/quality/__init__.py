"""Task quality: questions of a suite in, stored answers and scores out."""
