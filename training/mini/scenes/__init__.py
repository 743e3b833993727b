"""The scenes of lamm-mini: pictures, drawings and clouds, with the facts that each shows."""
