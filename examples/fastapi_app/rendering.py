"""Templates, and what every page of them shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastapi.templating import Jinja2Templates

if TYPE_CHECKING:
    from datetime import datetime

    from fastapi import Request, Response

    from .settings import Settings

_templates = Jinja2Templates(Path(__file__).parent / "templates")


def moment(when: datetime | None) -> str:
    """Show a time."""
    return f"{when:%Y-%m-%d %H:%M} UTC" if when else "no fixed end"


_templates.env.filters["moment"] = moment


def render(request: Request, template: str, *, status: int = 200, **values: object) -> Response:
    """Answer with a page."""
    settings: Settings = request.app.state.settings
    shown = {"emulated": settings.sandbox_url, **values}
    return _templates.TemplateResponse(request, template, shown, status)
