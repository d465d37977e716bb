"""Frozen value objects: what the library talks about, with no behaviour beyond themselves."""
