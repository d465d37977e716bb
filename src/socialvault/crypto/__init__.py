"""Sealing: the byte format, the key hierarchy and what a sealed record holds."""
