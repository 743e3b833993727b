"""A request becomes a `GenerationRequest`: messages, token ids, sampling and grammar."""
