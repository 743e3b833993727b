"""Pre-training of lamm-mini's parts (tokenizer, language model, encoders) and their assembly."""
