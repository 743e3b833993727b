"""One module per point-cloud file format; its `READERS` maps file suffixes to readers."""
