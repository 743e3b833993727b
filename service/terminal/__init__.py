"""`lamm chat`: a conversation in a terminal, over HTTP."""
