"""Calibration of a checkpoint's scores: questions are asked, curves fitted, checked, and drawn."""
