"""Engine chunks become an answer: a JSON body, server-sent events, or log-probabilities."""
