"""A browser without a screen: opens the consent page, ticks the boxes, presses a button, reads where that leads."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

from socialvault.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_TIMEOUT_SECONDS = 30.0


class Callback(dict[str, str]):
    """The parameters with which a provider sends the browser back to the application.

    Attributes:
        url: where it is sent; with ``method`` POST the parameters are in the body instead.
    """

    def __init__(self, params: Iterable[tuple[str, str]], *, url: str, method: str = "GET") -> None:
        super().__init__(params)
        self.url = url
        self.method = method


@dataclass(slots=True)
class _Page:
    status: int
    location: str
    html: str


class _Form(HTMLParser):
    """The one form of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.action = ""
        self.hidden: list[tuple[str, str]] = []
        self.boxes: dict[str, list[str]] = {}
        self.alert = ""
        self._in_alert = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = values["action"]
        elif values.get("type") == "hidden":
            self.hidden.append((values["name"], values["value"]))
        elif values.get("type") == "checkbox":
            self.boxes.setdefault(values["name"], []).append(values["value"])
        elif values.get("role") == "alert":
            self._in_alert = True

    def handle_endtag(self, tag: str) -> None:
        self._in_alert = self._in_alert and tag != "p"

    def handle_data(self, data: str) -> None:
        self.alert += data if self._in_alert else ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the person does on the consent page. `scopes` and `pages` None: leave every box ticked."""

    user: str = "ada"
    approve: bool = True
    scopes: Sequence[str] | None = None
    pages: Sequence[str] | None = None


def consent(login_url: str, decision: Decision) -> Callback:
    """Go through the consent page at `login_url` and return the callback, without following it.

    Raises:
        ConfigurationError: the provider showed an error page, or has no such box to tick.
    """
    page = _request("GET", login_url)
    if page.status == 200:
        form = _Form(page.html)
        fields = [
            *form.hidden,
            ("user", decision.user),
            ("decision", "allow" if decision.approve else "deny"),
            *(("scope", scope) for scope in _ticked("scope", form, decision.scopes)),
            *(("page", page_id) for page_id in _ticked("page", form, decision.pages)),
        ]
        page = _request("POST", form.action, urlencode(fields))
    return _callback(page)


def _ticked(name: str, form: _Form, wanted: Sequence[str] | None) -> Sequence[str]:
    offered = form.boxes.get(name, [])
    if wanted is None:
        return offered
    if unknown := sorted(set(wanted) - set(offered)):
        raise ConfigurationError(f"the consent page has no {name} {unknown}; it has {offered}")
    return wanted


def _callback(page: _Page) -> Callback:
    if page.location:
        return Callback(parse_qsl(urlsplit(page.location).query, keep_blank_values=True), url=page.location)
    form = _Form(page.html)
    if page.status == 200 and form.action:
        return Callback(form.hidden, url=form.action, method="POST")
    raise ConfigurationError(f"the emulated provider did not answer with a callback ({page.status}): {form.alert}")


def _request(method: str, url: str, body: str | None = None) -> _Page:
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        raise ConfigurationError("this login URL does not lead to a sandbox")
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT_SECONDS)
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
    try:
        connection.request(method, parts._replace(scheme="", netloc="", fragment="").geturl(), body, headers)
        answer = connection.getresponse()
        return _Page(answer.status, answer.getheader("Location", ""), answer.read().decode("utf-8", "replace"))
    finally:
        connection.close()
