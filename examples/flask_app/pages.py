"""The pages about accounts. Connecting and reconnecting are forms that go to the library's own routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, current_app, redirect, request

from . import wording
from .accounts import PREFIX, Accounts, profile
from .rendering import render
from .sign_in import refuse_foreign_forms, signed_in

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from socialvault import SocialVaultError

blueprint = Blueprint("pages", __name__)
blueprint.before_request(refuse_foreign_forms)


def our_accounts() -> Accounts:
    """Return the accounts of this application."""
    accounts: Accounts = current_app.extensions["accounts"]
    return accounts


@blueprint.get("/")
def home() -> Response:
    """Lead to the one page that matters here."""
    return redirect("/accounts", 303)


@blueprint.get("/accounts")
def show_accounts() -> str:
    """Show what is connected, and what can be."""
    me, ours = signed_in(), our_accounts()
    connections = ours.vault.connections(owner=me.id)
    message = wording.after_return(request.args, connections)
    return render(
        "accounts.html", platforms=ours.platforms.values(), names=ours.names, prefix=PREFIX,
        connections=connections, message=message,
    )  # fmt: skip


@blueprint.get("/accounts/<connection_id>/profile")
def show_profile(connection_id: str) -> str:
    """Use a token: show what the platform answers."""
    me, ours = signed_in(), our_accounts()
    account = ours.vault.connection(connection_id, owner=me.id)
    answer = profile(ours, account)
    return render("profile.html", account=account, names=ours.names, answered=answer.status_code, answer=answer.text)


@blueprint.get("/accounts/<connection_id>/pages")
def ask_pages(connection_id: str) -> str:
    """Let the person choose what we may act for."""
    me, ours = signed_in(), our_accounts()
    account = ours.vault.connection(connection_id, owner=me.id)
    pages = ours.vault.sub_accounts(connection_id, owner=me.id)
    return render("pages.html", account=account, pages=pages)


@blueprint.post("/accounts/<connection_id>/pages")
def choose_pages(connection_id: str) -> Response:
    """Act for exactly these Pages from now on."""
    me, ours = signed_in(), our_accounts()
    ours.vault.select_sub_accounts(connection_id, request.form.getlist("ids"), owner=me.id)
    return redirect("/accounts", 303)


@blueprint.post("/accounts/<connection_id>/disconnect")
def disconnect(connection_id: str) -> str:
    """End a connection, and show the receipt; done again it ends nothing more."""
    me, ours = signed_in(), our_accounts()
    receipt = ours.vault.disconnect(connection_id, owner=me.id)
    return render("disconnected.html", names=ours.names, receipt=receipt, explained=wording.outcome(receipt.outcome))


def show_problem(problem: SocialVaultError) -> tuple[str, int]:
    """Tell a person what to do about what the vault refused."""
    status, text = wording.about(problem)
    return render("problem.html", text=text), status
