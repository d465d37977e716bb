"""Requests that change something come from our own pages, or from no page."""

import itertools

import pytest

from socialvault.http.csrf import comes_from_here

OURS = frozenset({"https://app.example", "http://127.0.0.1:8000"})

SITES = (None, "same-origin", "none", "same-site", "cross-site", "")
ORIGINS = (None, "https://app.example", "http://127.0.0.1:8000", "https://evil.example", "null", "")
PROGRAMS = (None, "XMLHttpRequest", "")


def expected(site, origin, program):
    if site in ("same-origin", "none"):
        return True
    if origin in ("https://app.example", "http://127.0.0.1:8000"):
        return True
    return site is None and origin is None and program is not None


@pytest.mark.parametrize(("site", "origin", "program"), list(itertools.product(SITES, ORIGINS, PROGRAMS)))
def test_the_truth_table(make_request, site, origin, program):
    said = {"sec-fetch-site": site, "origin": origin, "x-requested-with": program}
    request = make_request(method="POST", headers={name: value for name, value in said.items() if value is not None})
    assert comes_from_here(request, OURS) is expected(site, origin, program)


@pytest.mark.parametrize(
    "headers",
    [
        {},  # an old browser's form
        {"origin": "null"},  # a sandboxed frame, or a redirect
        {"origin": "null", "x-requested-with": "x"},
        {"origin": "https://app.example.evil.example"},
        {"origin": "https://app.example:8443"},
        {"origin": "http://app.example"},
        {"origin": "https://app.example/"},
        {"origin": "HTTPS://APP.EXAMPLE"},
        {"sec-fetch-site": "cross-site", "x-requested-with": "x"},
        {"sec-fetch-site": "same-site", "origin": "https://evil.app.example"},
        {"referer": "https://app.example/settings"},
    ],
)
def test_other_sites_change_nothing(make_request, headers):
    assert not comes_from_here(make_request(method="POST", headers=headers), OURS)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "same-origin", "origin": "null"},  # the form of a page that sends no referrer
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "cross-site", "origin": "https://app.example"},  # a front end with a site of its own
        {"origin": "http://127.0.0.1:8000"},
        {"x-requested-with": "curl"},
    ],
)
def test_our_own_pages_and_programs_do(make_request, headers):
    assert comes_from_here(make_request(method="POST", headers=headers), OURS)
