"""Keeping the callback's query, with its code and state, out of a server's access log."""

from __future__ import annotations

import logging
import re
from typing import Any

#: The loggers of uvicorn, gunicorn, werkzeug and Django's development server.
LOGGERS = ("uvicorn.access", "gunicorn.access", "werkzeug", "django.server")

_QUERY = re.compile(r"(/oauth/[^/?\s\"]+/(?:callback|data-deletion)(?:/resume)?)\?[^\s\"]*")
_ITS_QUERY = r"\1?-"
_GUNICORN_QUERY, _GUNICORN_PATH = "q", "U"


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
    return _QUERY.sub(_ITS_QUERY, text)


def _mended(value: Any) -> Any:
    return without_query(value) if isinstance(value, str) else value


def _mend_atoms(atoms: dict[str, Any]) -> None:
    """Mend gunicorn's atoms where they are, a mapping of its own; the query is an atom by itself."""
    for name, value in list(atoms.items()):
        atoms[name] = _mended(value)
    if _QUERY.search(f"{atoms.get(_GUNICORN_PATH, '')}?"):
        atoms[_GUNICORN_QUERY] = "-"
