"""A small service whose users connect their social accounts: Flask, server-rendered, no script."""
