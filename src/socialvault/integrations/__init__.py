"""The routes and the vault inside frameworks; each needs the extra of its name."""
