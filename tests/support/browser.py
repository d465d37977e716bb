"""A browser without a screen, and a program: what an application's routes meet. Every answer is kept and looked at."""

from __future__ import annotations

import itertools
import re
import socket
import ssl
import struct
import threading
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from socialvault.sandbox import Sandbox
    from socialvault.sandbox.browser import Callback

PROGRAM = {"Accept": "application/json", "X-Requested-With": "tests"}
PAGE = {"Accept": "text/html,application/xhtml+xml"}
OWN_FORM = {**PAGE, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}

_TIMEOUT_SECONDS = 60.0
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Answer:
    """One answer as it came over the wire.

    Attributes:
        posted: whether it answers a form that a provider's page posted; it may repeat that form's code.
    """

    method: str
    url: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    posted: bool = False


@dataclass
class Site:
    """An application under test, as browsers find it.

    Attributes:
        public: URL of the prefix of the routes. answers: everything that it ever answered.
        verify: of its TLS certificate.
    """

    public: str
    sandbox: Sandbox
    verify: Any = False  # nothing of it over plain http, where making a context would cost more than the request
    answers: list[Answer] = field(default_factory=list)

    @property
    def origin(self) -> str:
        parts = urlsplit(self.public)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def root(self) -> str:
        """The path under which the application is mounted, "" for none."""
        return urlsplit(self.public).path.removesuffix("/api/v1")

    def browser(self, **who: Any) -> Browser:
        """A new browser; by default of a person, an owner and a tenant that nobody had before."""
        return Browser(self, **who)


class Browser:
    """One person's browser, signed in by cookies.

    Args:
        owner: None: not signed in. user: who signs in at the provider.
        source: the address that requests come from.
    """

    def __init__(
        self,
        site: Site,
        *,
        owner: str | None = "new",
        tenant: str | None = None,
        user: str | None = None,
        source: str | None = None,
    ) -> None:
        number = next(_numbers)
        self.site = site
        self.owner = f"owner-{number}" if owner == "new" else owner
        self.tenant = f"tenant-{number}" if tenant is None else tenant
        self.user = user or f"user{number}"
        self._source = source
        self.http = httpx.Client(
            transport=httpx.HTTPTransport(
                # a connection for each request, so that every step of a flow may meet another worker
                limits=httpx.Limits(max_keepalive_connections=0), local_address=source, verify=site.verify,
                trust_env=False,
            ),
            trust_env=False, timeout=_TIMEOUT_SECONDS, follow_redirects=False,
            headers={"User-Agent": "tests"},
        )  # fmt: skip
        for name, value in (("owner", self.owner), ("tenant", self.tenant)):
            if value is not None:
                self.http.cookies.set(name, value, domain=urlsplit(site.public).hostname or "", path="/")

    def elsewhere(self, **who: Any) -> Browser:
        """Another browser of the same owner: nothing but who is signed in is shared."""
        return Browser(self.site, **{"owner": self.owner, "tenant": self.tenant, "user": self.user, **who})

    # --- requests -------------------------------------------------------------------------------

    def request(
        self, method: str, path: str, *, headers: Mapping[str, str] | Sequence[tuple[str, str]] = (), **more: Any
    ) -> httpx.Response:
        """Send one request. `path`: below the prefix, or a whole URL."""
        url = path if "://" in path else self.site.public + path
        answer = self.http.request(method, url, headers=headers, **more)
        posted = bool(re.search(r"/callback$", urlsplit(url).path)) and method == "POST"
        self.site.answers.append(
            Answer(method, url, answer.status_code, tuple(answer.headers.multi_items()), answer.content, posted)
        )
        if urlsplit(url).path.startswith(urlsplit(self.site.public).path + "/"):
            check_headers(answer)
        return answer

    def get(self, path: str, **more: Any) -> httpx.Response:
        """As a program."""
        return self.request("GET", path, headers=PROGRAM, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        """As a program."""
        return self.request("POST", path, headers=PROGRAM, **more)

    def put(self, path: str, **more: Any) -> httpx.Response:
        """As a program."""
        return self.request("PUT", path, headers=PROGRAM, **more)

    def delete(self, path: str, **more: Any) -> httpx.Response:
        """As a program."""
        return self.request("DELETE", path, headers=PROGRAM, **more)

    # --- the flow -------------------------------------------------------------------------------

    def submit(self, path: str, **fields: Any) -> httpx.Response:
        """Submit a form of one of the application's own pages."""
        return self.request("POST", path, headers=OWN_FORM, data=fields)

    def start(self, slug: str, **fields: Any) -> str:
        """Begin a flow as a person does, with a form; return where the browser is sent."""
        answer = self.submit(f"/oauth/{slug}/start", **fields)
        assert answer.status_code == 303, answer.text
        location: str = answer.headers["location"]
        assert_flow_cookie(answer, location)
        return location

    def consent(self, url: str, **decision: Any) -> Callback:
        """Sign in and decide at the provider."""
        return self.site.sandbox.authorize(url, **{"user": self.user, **decision})

    def deliver(self, callback: Callback, **headers: str) -> httpx.Response:
        """Follow the provider's redirect, or submit the form that it had the browser post."""
        if callback.method == "POST":
            return self.resume(self.post_from_provider(callback))
        return self.request("GET", callback.url.partition("#")[0], headers={**PAGE, **headers})

    def post_from_provider(self, callback: Callback) -> httpx.Response:
        """Post the provider's form as a cross-site request: cookies that are SameSite=Lax stay at home."""
        with Browser(self.site, owner=None, tenant="").http as bare:
            bare.cookies.clear()
            headers = {**PAGE, "Sec-Fetch-Site": "cross-site", "Origin": self.site.sandbox.base_url}
            answer = bare.post(callback.url, data=dict(callback), headers=headers)
        self.site.answers.append(
            Answer("POST", callback.url, answer.status_code, tuple(answer.headers.multi_items()), answer.content, True)
        )
        check_headers(answer)
        return answer

    def resume(self, page: httpx.Response) -> httpx.Response:
        """Submit the one form of a page, as its script or its button does."""
        assert page.status_code == 200, page.text
        form = Form(page.text)
        return self.request(
            "POST", str(page.url.join(form.action)), headers={**OWN_FORM, "Origin": "null"}, data=form.fields
        )

    def finish(self, slug: str, **decision: Any) -> httpx.Response:
        """Go through a whole flow and return the last answer."""
        return self.deliver(self.consent(self.start(slug, return_to=f"{self.site.root}/home"), **decision))

    def connect(self, slug: str, **decision: Any) -> str:
        """Go through a whole flow that ends well; return the connection's id."""
        return connection_of(self.finish(slug, **decision))

    def callback_as_program(self, callback: Callback) -> httpx.Response:
        """Deliver a callback and ask for JSON."""
        return self.get(callback.url.partition("#")[0])

    def abandon(self, url: str, *, when: Any) -> None:
        """Send a GET with this browser's cookies, wait until `when()`, and cut the connection before any answer."""
        parts = urlsplit(url)
        request = self.http.build_request("GET", url.partition("#")[0], headers=PAGE)
        lines = [
            f"GET {parts.path}?{parts.query} HTTP/1.1",
            *(f"{name}: {value}" for name, value in request.headers.items()),
        ]
        with socket.create_connection((parts.hostname or "", parts.port or 80)) as raw:
            wire = ssl._create_unverified_context().wrap_socket(raw) if parts.scheme == "https" else raw
            wire.sendall("\r\n".join([*lines, "", ""]).encode())
            when()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not a goodbye


class Form(HTMLParser):
    """The one form of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.buttons = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = values["action"]
        elif tag == "button":
            self.buttons += 1
        elif values.get("type") == "hidden":
            self.fields[values["name"]] = values["value"]


def query_of(url: str) -> dict[str, str]:
    """The query of a URL, each name once."""
    found = parse_qs(urlsplit(url).query, keep_blank_values=True)
    assert all(len(values) == 1 for values in found.values()), url
    return {name: values[0] for name, values in found.items()}


def connection_of(answer: httpx.Response) -> str:
    """The id that a callback ended in, as the browser is told it."""
    assert answer.status_code == 303, (answer.status_code, answer.text)
    location = answer.headers["location"]
    assert urlsplit(location).path.endswith("/home"), location
    return query_of(location)["connection"]


def check_headers(answer: httpx.Response) -> None:
    """What every answer of every route carries, errors included."""
    where = f"{answer.request.method} {answer.url.path} answered {answer.status_code} with {dict(answer.headers)}"
    assert answer.headers.get("cache-control") == "no-store", where
    assert answer.headers.get("referrer-policy") == "no-referrer", where
    assert answer.headers.get("x-content-type-options") == "nosniff", where
    assert answer.status_code not in (301, 302, 307, 308), where
    if answer.headers.get("content-type", "").startswith("text/html"):
        policy = answer.headers.get("content-security-policy", "")
        assert "frame-ancestors 'none'" in policy, where
        assert "default-src 'none'" in policy, where
        nonces = set(re.findall(r'nonce="([^"]+)"', answer.text))
        assert len(nonces) == 1, where
        assert f"'nonce-{nonces.pop()}'" in policy, where
        assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", answer.text), "content from elsewhere"


def check_problem(answer: httpx.Response, status: int, code: str, action: str | None = None) -> dict[str, Any]:
    """A problem document (RFC 9457) of this status and code; returns it."""
    assert answer.headers.get("content-type") == "application/problem+json", (answer.status_code, answer.text)
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["code"]) == (status, code), document
    assert document["status"] == status
    assert document["type"] == f"urn:socialvault:problem:{code}"
    assert document["title"]
    assert document["detail"]
    assert document["action"] in {"retry", "reauthorize", "fix_configuration", "report"}
    assert action is None or document["action"] == action, document
    return document


def flow_cookies(answer: httpx.Response) -> list[str]:
    """The Set-Cookie headers of flows."""
    return [line for line in answer.headers.get_list("set-cookie") if line.startswith(("socialvault_", "__"))]


def assert_flow_cookie(answer: httpx.Response, location: str) -> None:
    """A flow begins with one cookie that scripts can't read and that goes to its own callback alone."""
    [cookie] = flow_cookies(answer)
    attributes = {part.strip().partition("=")[0].lower(): part.strip().partition("=")[2] for part in cookie.split(";")}
    assert attributes["path"] == urlsplit(query_of(location)["redirect_uri"]).path
    assert attributes["samesite"].lower() == "lax"
    assert "httponly" in attributes
    assert ("secure" in attributes) == query_of(location)["redirect_uri"].startswith("https:")
    assert len(cookie.partition("=")[2].partition(";")[0].strip('"')) >= 43, "less than 256 bits"


def together(*calls: Any) -> list[Any]:
    """Run functions at the same time; return what they returned, in their order. The first error is raised."""
    results: list[Any] = [None] * len(calls)
    problems: list[BaseException] = []

    def run(position: int, call: Any) -> None:
        try:
            results[position] = call()
        except BaseException as problem:  # noqa: BLE001  (handed to the caller below)
            problems.append(problem)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return results
