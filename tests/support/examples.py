"""The example applications as a user starts them, and somebody who visits them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
from support.servers import Server, free_port, launch

from socialvault.sandbox.browser import Decision, consent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EXAMPLES = Path(__file__).parents[2] / "examples"
USER, PASSWORD = "ada", "analytical engine"

#: The one command of each, run in the folder of the examples.
COMMANDS: Mapping[str, Sequence[str]] = {
    "fastapi_app": [sys.executable, "-W", "error", "-m", "fastapi_app"],
    "flask_app": [sys.executable, "-W", "error", "-m", "flask_app"],
    "django_app": [sys.executable, "-W", "error", "django_app/demo.py"],
}


@dataclass(frozen=True)
class Example:
    """A running example."""

    name: str
    url: str
    server: Server

    @property
    def home(self) -> str:
        """The path of the page about accounts."""
        return "/" if self.name == "django_app" else "/accounts"

    @property
    def cookie(self) -> str:
        """The name of the session's cookie."""
        return "sessionid" if self.name == "django_app" else "session"


def launch_example(
    name: str, directory: Path, command: Sequence[str] = (), *, host: str = "127.0.0.1", **environment: str
) -> Example:
    """Start an example without waiting for it, by its one command or another; its files go below `directory`."""
    port = free_port()
    url = f"http://{host}:{port}"
    (directory / "tmp").mkdir(parents=True, exist_ok=True)
    server = launch(
        name, [part.replace("PORT", str(port)) for part in command or COMMANDS[name]], directory / "logs", port=port,
        ready_url=f"http://127.0.0.1:{port}/api/v1/health", working_directory=EXAMPLES,
        environment={"PORT": str(port), "PUBLIC_URL": url, "TMPDIR": str(directory / "tmp"), **environment},
    )  # fmt: skip
    return Example(name, url, server)


@dataclass
class Form:
    """A form of a page, with what a browser would send."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    choices: list[str] = field(default_factory=list)
    button: str = ""


class Page(HTMLParser):
    """What a person sees of a page."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.answer = answer
        self.status = answer.status_code
        self.forms: list[Form] = []
        self.links: dict[str, str] = {}
        self.messages: list[str] = []
        self._open: list[tuple[str, Any]] = []
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(values.get("action", "")))
        elif tag == "input" and values.get("type") == "checkbox":
            self.forms[-1].choices.append(values["value"])
        elif tag == "input":
            self.forms[-1].fields[values["name"]] = values.get("value", "")
        elif tag == "button":
            self._open.append((tag, self.forms[-1]))
        elif tag == "a":
            self._open.append((tag, [values["href"], ""]))
        elif "role" in values:
            self.messages.append("")
            self._open.append((tag, None))

    def handle_data(self, data: str) -> None:
        for tag, what in self._open:
            if tag == "button":
                what.button += data
            elif tag == "a":
                what[1] += data
            else:
                self.messages[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1][0] == tag:
            _, what = self._open.pop()
            if tag == "a":
                self.links[what[1]] = what[0]

    def form(self, button: str, action: str = "") -> Form:
        """The one form with this button, below this path."""
        found = [one for one in self.forms if one.button.startswith(button) and action in one.action]
        assert len(found) == 1, (button, [(one.button, one.action) for one in self.forms])
        return found[0]


class Visitor:
    """A browser without a screen: keeps cookies, says where its requests come from, and follows redirects."""

    def __init__(self, example: Example) -> None:
        self.example = example
        self.http = httpx.Client(
            base_url=example.url, trust_env=False, verify=False, timeout=30, headers={"Accept": "text/html"}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_ended: object) -> None:
        self.http.close()

    def see(self, path: str) -> Page:
        """Open a page of the example, and whatever that leads to."""
        return self._follow(self.http.get(path))

    def submit(self, form: Form, **fields: Any) -> Page:
        """Submit a form, and see where that leads."""
        return self._follow(self.send(form, **fields))

    def send(self, form: Form, **fields: Any) -> httpx.Response:
        """Submit a form, and stay there."""
        return self.http.post(
            form.action, data={**form.fields, **fields},
            headers={"Sec-Fetch-Site": "same-origin", "Origin": self.example.url},
        )  # fmt: skip

    def _follow(self, answer: httpx.Response) -> Page:
        while answer.is_redirect:
            answer = self.http.get(answer.headers["location"])
        return Page(answer)

    # --- what people do here ----------------------------------------------------------------------

    def sign_in(self, name: str = USER, password: str = PASSWORD) -> Page:
        form = self.see("/sign-in").form("Sign in")
        form.action = form.action or "/sign-in"
        known = "username" if "username" in form.fields else "name"
        return self.submit(form, **{known: name, "password": password})

    def accounts(self) -> Page:
        page = self.see(self.example.home)
        assert page.status == 200, page.answer.text
        return page

    def connect(self, platform: str, **decision: Any) -> Page:
        """Press the button of a platform, decide there, and come back."""
        return self.pass_through(self.accounts().form(f"Connect {platform}"), **decision)

    def pass_through(self, form: Form, **decision: Any) -> Page:
        """Submit a form that leads to a platform, decide there, and come back."""
        answer = self.send(form)
        assert answer.status_code == 303, answer.text
        back = consent(answer.headers["location"], Decision(**decision))
        return self._follow(self.http.get(back.url))
