"""Media file formats: bytes become an RGB picture or a point cloud."""
