"""``python examples/django_app/demo.py``: the project on this machine, emulated platforms, files that end with it."""
# ruff: noqa: T201  # a command speaks by printing

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack
from tempfile import TemporaryDirectory

import django
from django.core.management import call_command

from socialvault import LocalKeyring
from socialvault.sandbox import Sandbox

USER, PASSWORD = "ada", "analytical engine"


def main() -> None:
    """Serve on a loopback port until Ctrl-C; what the environment says already stays."""
    port = os.environ.get("PORT", "8002")
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="socialvault-example-"))
        demo = {
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
            "SECRET_KEY": secrets.token_urlsafe(32),
            "DATABASE": f"{folder}/app.db",
            "VAULT_STORE": f"sqlite:///{folder}/vault.db",
            "SOCIALVAULT_KEYS": LocalKeyring.generate(),
        }
        if "SANDBOX_URL" not in os.environ:
            demo["SANDBOX_URL"] = stack.enter_context(Sandbox()).base_url
        os.environ.update({name: value for name, value in demo.items() if name not in os.environ})
        django.setup()
        call_command("migrate", verbosity=0)
        _add_user()
        print(f"Nothing is real: the platforms are emulated. Sign in as {USER} / {PASSWORD}")
        print(f"Open {os.environ['PUBLIC_URL']} ; Ctrl-C ends it", flush=True)
        call_command("runserver", f"127.0.0.1:{port}", use_reloader=False, verbosity=0)


def _add_user() -> None:
    from django.contrib.auth.models import User  # models can be imported once Django is set up

    if not User.objects.filter(username=USER).exists():
        User.objects.create_user(USER, password=PASSWORD)


if __name__ == "__main__":
    main()
