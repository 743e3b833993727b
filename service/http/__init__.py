"""The HTTP layer around every route: middleware, request heads and bodies, time limits."""
