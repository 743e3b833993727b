"""A request becomes `GenerationRequest`s: messages, token ids, sampling and grammar."""
