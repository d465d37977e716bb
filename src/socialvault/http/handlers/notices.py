"""What a provider tells about an account: the person removed the application, or wants their data deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from socialvault.http.bodies import DeletionDocument, DeletionStatusDocument
from socialvault.http.messages import Response, json_response
from socialvault.http.pages import deletion_page
from socialvault.http.problems import HttpError
from socialvault.http.reading import form_fields, only_value, pairs_of

if TYPE_CHECKING:
    from socialvault.http.call import Call
    from socialvault.model.notice import AccountNotice
    from socialvault.providers.base import Provider


async def deauthorize(call: Call) -> Response:
    """Take note that a person removed the application at the provider."""
    from socialvault.webhooks.deauthorization import deauthorize as deauthorized

    provider = _platform(call)
    notice = _notice(call, provider)
    await deauthorized(call.cases, provider.slug, notice)
    return Response(204)


async def data_deletion(call: Call) -> Response:
    """Delete what is kept of an account, and say where that can be looked up."""
    from socialvault.webhooks.data_deletion import delete_account_data

    provider = _platform(call)
    notice = _notice(call, provider)
    code = await delete_account_data(call.cases, provider.slug, notice)
    url = call.settings.url(f"/oauth/{provider.slug}/data-deletion?{urlencode({'code': code})}")
    return json_response(DeletionDocument(url=url, confirmation_code=code))


async def data_deletion_status(call: Call) -> Response:
    """Say what became of a data deletion request."""
    from socialvault.webhooks.data_deletion import deleted_at

    provider = _platform(call)
    moment = deleted_at(provider, only_value(pairs_of(call.request.query), "code"))
    if moment is None:
        raise HttpError(404, "not_found", "there is no request with this confirmation code")
    if call.request.wants_page:
        return deletion_page(provider.name or provider.slug, moment)
    return json_response(DeletionStatusDocument(platform=provider.slug, deleted_at=moment))


def _platform(call: Call) -> Provider:
    provider = call.platform
    if not provider.account_notices:
        raise HttpError(404, "not_found", "this platform sends no such notices")
    return provider


def _notice(call: Call, provider: Provider) -> AccountNotice:
    """Return the notice if the provider itself signed it, and lately."""
    from socialvault.webhooks.freshness import fresh

    notice = provider.read_account_notice(only_value(form_fields(call.request), "signed_request"))
    if notice is None or not fresh(notice, call.cases.core.now()):
        raise HttpError(400, "invalid_request", "signed_request was not signed for this application, or long ago")
    return notice
