"""KV memory: a budget becomes slots and blocks, and requests get and return them."""
