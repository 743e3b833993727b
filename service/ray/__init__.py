"""Ray Serve: a request is routed to one of several replicas."""
