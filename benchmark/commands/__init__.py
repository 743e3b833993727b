"""`lamm bench`: the options of each sub-command, and the call that runs it."""
