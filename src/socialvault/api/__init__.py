"""The public face: ``Vault`` and ``AsyncVault``. The only place that picks defaults."""
