"""A small service whose users connect their social accounts: FastAPI, server-rendered, no script."""
