"""Exports of a checkpoint to the files that other programs load, one module of `formats` each."""
