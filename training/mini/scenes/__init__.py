"""The scenes of lamm-mini: pictures, drawings and clouds, and the facts that they show."""
