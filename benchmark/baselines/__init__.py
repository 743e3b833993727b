"""Programs with torch that run in their own process: baselines, embeddings, timings."""
