"""Accounts of X for the users of a Flask application, whose sign-in puts their ids into the session."""

import os

from flask import Flask, session

from socialvault import LocalKeyring, Vault
from socialvault.integrations.flask import oauth_blueprint
from socialvault.providers import X

x = X(os.environ["X_CLIENT_ID"], os.environ["X_CLIENT_SECRET"])
keys = LocalKeyring.from_env("SOCIALVAULT_KEYS")
callback = os.environ["PUBLIC_URL"] + "/api/v1/oauth/{provider}/callback"
vault = Vault(providers=[x], store="sqlite:///vault.db", keys=keys, redirect_uri=callback, return_to=["/account"])
app = Flask(__name__)
app.secret_key = os.environ["SECRET_KEY"]
app.register_blueprint(oauth_blueprint(vault, owner=lambda: session.get("user")), url_prefix="/api/v1")
