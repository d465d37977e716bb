"""A callback's code and state stay out of access logs, as each server writes them."""

from __future__ import annotations

import io
import logging
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from socialvault.http.access_log import LOGGERS, CallbackQueryFilter, hide_callback_queries, without_query

SECRET = "code=code-canary&state=state-canary"
CALLBACK = "/api/v1/oauth/x/callback"


@contextmanager
def logged(name, formatter=None):
    """Hide callback queries, and catch what one logger writes."""
    logger, text = logging.getLogger(name), io.StringIO()
    before = (logger.level, logger.propagate, list(logger.filters))
    handler = logging.StreamHandler(text)
    handler.setFormatter(formatter or logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel("INFO")
    logger.propagate = False
    hide_callback_queries()
    try:
        yield logger, text.getvalue
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        logger.filters[:] = before[2]


# --- the text -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("/oauth/x/callback?code=c&state=s", "/oauth/x/callback?-"),
        ("/api/v1/oauth/x/callback?code=c", "/api/v1/oauth/x/callback?-"),
        ("/oauth/x/callback/resume?code=c", "/oauth/x/callback/resume?-"),
        ("/oauth/facebook/data-deletion?code=c", "/oauth/facebook/data-deletion?-"),
        ("https://app.example/oauth/x/callback?code=c", "https://app.example/oauth/x/callback?-"),
        ('"GET /oauth/x/callback?code=c HTTP/1.1" 303', '"GET /oauth/x/callback?- HTTP/1.1" 303'),
        ('"GET /oauth/x/callback?a="&code=c&b=x y HTTP/1.1" 303', '"GET /oauth/x/callback?- HTTP/1.1" 303'),
        ("/oauth/x/callback/?code=c", "/oauth/x/callback/?-"),
        ("/%6fauth/x/callbac%6B?code=c", "/%6fauth/x/callbac%6B?-"),
        ("/oauth/x/callback?code=c?d=e", "/oauth/x/callback?-"),
        ("/oauth/my-idp_2/callback?code=c", "/oauth/my-idp_2/callback?-"),
        ("/oauth/x/callback?", "/oauth/x/callback?-"),
    ],
)
def test_the_query_of_a_callback_becomes_a_dash(text, mended):
    assert without_query(text) == mended


@pytest.mark.parametrize(
    "text",
    [
        "/oauth/x/callback", "/oauth/platforms?x=1", "/settings?connection=con-1", "/oauth/x/start?x=1",
        "/callback?code=c", "/oauth/connections/con-1?x=1", "/search?q=/oauth/", "",
    ],
)  # fmt: skip
def test_everything_else_stays_as_it_is(text):
    assert without_query(text) == text


# --- the servers ----------------------------------------------------------------------------------


def test_uvicorns_records_keep_their_shape():
    from uvicorn.logging import AccessFormatter

    formatter = AccessFormatter('%(client_addr)s "%(request_line)s" %(status_code)s', use_colors=False)
    with logged("uvicorn.access", formatter) as (logger, text):
        for path in (f"{CALLBACK}?{SECRET}", "/other?q=kept"):
            logger.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:5000", "GET", path, "1.1", 303)
    assert text().splitlines() == [
        f'127.0.0.1:5000 "GET {CALLBACK}?- HTTP/1.1" 303 See Other',
        '127.0.0.1:5000 "GET /other?q=kept HTTP/1.1" 303 See Other',
    ]


def gunicorn_atoms(path, query, referer):
    """Make the atoms of one request as gunicorn's own logger does."""
    from datetime import timedelta

    from gunicorn.config import Config
    from gunicorn.glogging import Logger

    uri = f"{path}?{query}" if query else path
    environ = {
        "REQUEST_METHOD": "GET", "RAW_URI": uri, "PATH_INFO": path, "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1", "HTTP_REFERER": referer, "HTTP_USER_AGENT": "tests",
    }  # fmt: skip
    request = SimpleNamespace(headers=[("REFERER", referer), ("USER-AGENT", "tests")])
    response = SimpleNamespace(status="303 See Other", sent=0, headers=[("Location", "/settings")])
    logger = Logger(Config())
    return logger.atoms_wrapper_class(logger.atoms(response, request, environ, timedelta(seconds=1)))


GUNICORN_FORMAT = '%(h)s "%(r)s" %(s)s "%(f)s" "%(a)s" U=%(U)s q=%(q)s ref=%({Referer}i)s uri=%({raw_uri}e)s'


def test_gunicorns_atoms_are_mended_each_by_itself():
    with logged("gunicorn.access") as (logger, text):
        logger.info(GUNICORN_FORMAT, gunicorn_atoms(CALLBACK, SECRET, f"https://app.example{CALLBACK}?{SECRET}"))
    written = text()
    assert "canary" not in written
    assert f'"GET {CALLBACK}?- HTTP/1.1" 303' in written
    assert f"U={CALLBACK} q=- ref=https://app.example{CALLBACK}?-" in written


def test_gunicorns_query_string_variable_is_mended_too():
    with logged("gunicorn.access") as (logger, text):
        logger.info("%(U)s %({query_string}e)s", gunicorn_atoms(CALLBACK, SECRET, ""))
    assert "canary" not in text()


def test_gunicorns_other_records_stay_as_they_are():
    with logged("gunicorn.access") as (logger, text):
        logger.info(GUNICORN_FORMAT, gunicorn_atoms("/other", "q=kept", "https://app.example/?x=kept"))
    assert text() == (
        '127.0.0.1 "GET /other?q=kept HTTP/1.1" 303 "https://app.example/?x=kept" "tests" '
        "U=/other q=q=kept ref=https://app.example/?x=kept uri=/other?q=kept\n"
    )


def test_gunicorns_records_without_any_atom_stay_as_they_are():
    with logged("gunicorn.access") as (logger, text):
        logger.info("%(U)s %(q)s", gunicorn_atoms("", "", ""))
    assert text() == " \n"


def test_werkzeugs_lines_are_mended():
    from werkzeug.serving import WSGIRequestHandler

    handler = WSGIRequestHandler.__new__(WSGIRequestHandler)
    handler.client_address = ("127.0.0.1", 5000)
    with logged("werkzeug") as (_, text):
        for path in (f"{CALLBACK}?{SECRET}", "/other?q=kept"):
            handler.command, handler.path, handler.request_version = "GET", path, "HTTP/1.1"
            handler.requestline = f"GET {path} HTTP/1.1"
            handler.log_request(303, 0)
    first, second = text().splitlines()
    assert "canary" not in first
    assert f"GET {CALLBACK}?- HTTP/1.1" in first
    assert "GET /other?q=kept HTTP/1.1" in second


def test_djangos_development_server_is_mended():
    with logged("django.server") as (logger, text):
        for path in (f"{CALLBACK}?{SECRET}", "/other?q=kept"):
            logger.info('"%s" %s %s', f"GET {path} HTTP/1.1", "303", "0")
    assert text().splitlines() == [f'"GET {CALLBACK}?- HTTP/1.1" 303 0', '"GET /other?q=kept HTTP/1.1" 303 0']


@pytest.mark.parametrize("name", LOGGERS)
def test_a_message_that_was_put_together_before_is_mended(name):
    with logged(name) as (logger, text):
        logger.info(f'"GET {CALLBACK}?{SECRET} HTTP/1.1" 303')  # noqa: G004  # that is what this is about
        logger.info(SimpleNamespace(kept=1))
        logger.info("%s %d", f"{CALLBACK}?{SECRET}", 303)
        logger.info("plain")
    assert "canary" not in text()
    assert len(text().splitlines()) == 4


def test_a_record_without_arguments_is_mended():
    record = logging.LogRecord("uvicorn.access", logging.INFO, "", 1, f"GET {CALLBACK}?{SECRET}", None, None)
    assert CallbackQueryFilter().filter(record)
    assert record.getMessage() == f"GET {CALLBACK}?-"


# --- putting it on --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOGGERS)
def test_it_is_put_on_once(name):
    with logged(name) as (logger, _):
        hide_callback_queries()
        hide_callback_queries()
        assert sum(isinstance(one, CallbackQueryFilter) for one in logger.filters) == 1


def test_filters_that_were_there_stay():
    logger, other = logging.getLogger("uvicorn.access"), logging.Filter()
    logger.addFilter(other)
    try:
        with logged("uvicorn.access"):
            assert other in logger.filters
    finally:
        logger.removeFilter(other)


def test_other_loggers_are_left_alone():
    hide_callback_queries()
    for name in ("", "uvicorn", "uvicorn.error", "django.request", "socialvault"):
        assert not any(isinstance(one, CallbackQueryFilter) for one in logging.getLogger(name).filters)
