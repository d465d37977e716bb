"""The emulated providers: one small file each over one authorization server."""
