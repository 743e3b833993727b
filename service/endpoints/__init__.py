"""The routes, one file per route family: a checked body in, a response out."""
