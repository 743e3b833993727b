"""The parts of lamm-mini in the making: tokenizer, language model, encoders, then the base."""
