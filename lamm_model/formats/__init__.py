"""Readers of media files, one module per format: bytes -> an RGB picture or a point cloud."""
