"""Engine chunks become an answer: one JSON body, server-sent events, or log-probabilities."""
