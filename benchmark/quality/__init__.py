"""Task quality: suite items become stored answers, and these become scores."""
