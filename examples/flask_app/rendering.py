"""Templates, and what every page of them shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import current_app, g, render_template

if TYPE_CHECKING:
    from datetime import datetime


def moment(when: datetime | None) -> str:
    """Show a time."""
    return f"{when:%Y-%m-%d %H:%M} UTC" if when else "no fixed end"


def render(template: str, **values: object) -> str:
    """Return a page."""
    emulated = current_app.extensions["settings"].sandbox_url
    return render_template(template, emulated=emulated, user=g.get("user"), **values)
