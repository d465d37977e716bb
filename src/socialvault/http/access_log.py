"""Keeping the callback's query, with its code and state, out of a server's access log."""

from __future__ import annotations

import logging
import re
from typing import Any
from urllib.parse import unquote

#: The loggers of the usual servers, Django's and Flask's own included.
LOGGERS = (
    "uvicorn.access",
    "gunicorn.access",
    "hypercorn.access",
    "werkzeug",
    "django.server",
    "django.channels.server",
)

# A path and its query, up to where the request line goes on or the text ends: what is in between may hold anything.
_TARGET = re.compile(r"([^\s?\"]*/[^\s?\"]*)\?(.*?)(?= HTTP/|$)")
_CALLBACK = re.compile(r"/oauth/[^/]+/(?:callback|data-deletion)(?:/resume)?/*$")
_GUNICORN_QUERIES, _GUNICORN_PATH = ("q", "{query_string}e"), "U"


class CallbackQueryFilter(logging.Filter):
    """Takes the query of callbacks out of access records, of the Referer too; all else stays as it is."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mend the record; it is always logged."""
        if isinstance(record.msg, str):
            record.msg = without_query(record.msg)
        if isinstance(record.args, dict):
            _mend_atoms(record.args)
        elif isinstance(record.args, tuple):
            record.args = tuple(_mended(value) for value in record.args)
        return True


def hide_callback_queries() -> None:
    """Put the filter on the access logs of the known servers; mounting the routes does it."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, CallbackQueryFilter) for one in logger.filters):
            logger.addFilter(CallbackQueryFilter())


def without_query(text: str) -> str:
    """Return `text` with a dash for the query of each callback in it."""
    return _TARGET.sub(lambda found: f"{found[1]}?-" if _is_callback(found[1]) else found[0], text)


def _is_callback(path: str) -> bool:
    return bool(_CALLBACK.search(unquote(path)))


def _mended(value: Any) -> Any:
    return without_query(value) if isinstance(value, str) else value


def _mend_atoms(atoms: dict[str, Any]) -> None:
    """Mend gunicorn's atoms where they are, a mapping of its own; the query is one by itself."""
    for name, value in list(atoms.items()):
        atoms[name] = _mended(value)
    if _is_callback(str(atoms.get(_GUNICORN_PATH, ""))):
        atoms.update(dict.fromkeys(_GUNICORN_QUERIES, "-"))
