"""Ray Serve: a gateway routes each request to one of several replicas."""
