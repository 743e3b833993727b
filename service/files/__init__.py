"""Uploaded files: received, limited, stored, expired."""
