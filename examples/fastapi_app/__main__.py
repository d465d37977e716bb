"""``python -m fastapi_app``: the application on this machine; without any credentials, with emulated platforms.

``python -m fastapi_app add-user NAME`` adds a user, and asks for the password.
"""
# ruff: noqa: T201  # a command speaks by printing

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

import uvicorn

from socialvault import SocialVaultError

from . import demo
from .database import create_tables
from .main import create_app
from .settings import Settings, SettingsError, port_from_env
from .users import Users


def serve() -> None:
    """Serve on a loopback port until Ctrl-C."""
    port = port_from_env(8000)
    with demo.first_look(port) as is_demo:
        app = create_app()
        if is_demo:
            Users(Settings.from_env().database).add(demo.USER, demo.PASSWORD)
            print(f"Nothing is real: the platforms are emulated. Sign in as {demo.USER} / {demo.PASSWORD}")
        print(f"Open {os.environ['PUBLIC_URL']} ; Ctrl-C ends it", flush=True)
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


def add_user(name: str) -> None:
    """Add a user to the database that ``DATABASE`` names."""
    database = Path(os.environ.get("DATABASE", "app.db"))
    create_tables(database)
    Users(database).add(name, getpass.getpass())


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["add-user"] and len(sys.argv) == 3:
            add_user(sys.argv[2])
        elif not sys.argv[1:]:
            serve()
        else:
            sys.exit(__doc__)
    except (SettingsError, SocialVaultError) as problem:
        sys.exit(f"{problem}")
