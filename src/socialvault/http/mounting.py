"""What mounting the routes takes in any framework."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from socialvault.http.route import Route

#: Every method that reaches a path of ours, so that each of them gets an answer of ours.
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")

_PARAMETER = re.compile(r"\{(\w+)\}")


def with_parameters(path: str, form: str) -> str:
    """Return a route's path with its parameters as a framework writes them: ``<…>`` for Flask."""
    return _PARAMETER.sub(form, path)


def name_of(by_method: Mapping[str, Route]) -> str:
    """Return what a path is called."""
    return "_".join(route.name for route in by_method.values())


def route_for(by_method: Mapping[str, Route], method: str | None) -> Route | None:
    """Return the route that answers a method; HEAD is asked where GET is."""
    return by_method.get("GET" if method == "HEAD" else method or "")


def known_methods(by_method: Iterable[str]) -> list[str]:
    """Return the methods that a path answers."""
    found = set(by_method)
    return sorted(found | {"HEAD", "OPTIONS"} if "GET" in found else found | {"OPTIONS"})


def no_tenant(*_request: object) -> str:
    """Say that the application has no tenants."""
    return ""
