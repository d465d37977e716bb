"""The pages about accounts. Connecting and reconnecting are forms that go to the library's own routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from . import wording
from .accounts import PREFIX, Accounts, profile
from .rendering import render
from .sign_in import current_user, from_own_page, signed_in
from .users import User

if TYPE_CHECKING:
    from socialvault import SocialVaultError

router = APIRouter(dependencies=[Depends(from_own_page)])

Me = Annotated[User, Depends(signed_in)]


def accounts_of(request: Request) -> Accounts:
    """Return the accounts of this application."""
    accounts: Accounts = request.app.state.accounts
    return accounts


Ours = Annotated[Accounts, Depends(accounts_of)]


@router.get("/")
def home() -> Response:
    """Lead to the one page that matters here."""
    return RedirectResponse("/accounts", 303)


@router.get("/accounts")
async def show_accounts(request: Request, me: Me, ours: Ours) -> Response:
    """Show what is connected, and what can be."""
    connections = await ours.vault.connections(owner=me.id)
    message = wording.after_return(request.query_params, connections)
    return render(
        request, "accounts.html", user=me, platforms=ours.platforms.values(), names=ours.names, prefix=PREFIX,
        connections=connections, message=message,
    )  # fmt: skip


@router.get("/accounts/{connection_id}/profile")
async def show_profile(request: Request, connection_id: str, me: Me, ours: Ours) -> Response:
    """Use a token: show what the platform answers."""
    account = await ours.vault.connection(connection_id, owner=me.id)
    answer = await profile(ours, account)
    return render(
        request, "profile.html", user=me, account=account, names=ours.names, answered=answer.status_code,
        answer=answer.text,
    )  # fmt: skip


@router.get("/accounts/{connection_id}/pages")
async def ask_pages(request: Request, connection_id: str, me: Me, ours: Ours) -> Response:
    """Let the person choose what we may act for."""
    account = await ours.vault.connection(connection_id, owner=me.id)
    pages = await ours.vault.sub_accounts(connection_id, owner=me.id)
    return render(request, "pages.html", user=me, account=account, pages=pages)


@router.post("/accounts/{connection_id}/pages")
async def choose_pages(
    connection_id: str, me: Me, ours: Ours, ids: Annotated[tuple[str, ...], Form()] = ()
) -> Response:
    """Act for exactly these Pages from now on."""
    await ours.vault.select_sub_accounts(connection_id, ids, owner=me.id)
    return RedirectResponse("/accounts", 303)


@router.post("/accounts/{connection_id}/disconnect")
async def disconnect(request: Request, connection_id: str, me: Me, ours: Ours) -> Response:
    """End a connection, and show the receipt; done again it ends nothing more."""
    receipt = await ours.vault.disconnect(connection_id, owner=me.id)
    explained = wording.outcome(receipt.outcome)
    return render(request, "disconnected.html", user=me, names=ours.names, receipt=receipt, explained=explained)


def show_problem(request: Request, problem: SocialVaultError) -> Response:
    """Tell a person what to do about what the vault refused."""
    status, text = wording.about(problem)
    return render(request, "problem.html", status=status, user=current_user(request), text=text)
