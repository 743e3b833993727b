"""The sub-commands of `lamm bench`: options in, exit status out."""
