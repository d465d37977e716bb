"""HTTP, bounded: what the vault sends to providers, and the clients that applications call APIs with."""
