"""The table of routes."""

import re

from socialvault.http.routes import ROUTES, by_path


def test_the_routes_are_these():
    assert {f"{route.method} {route.path}" for route in ROUTES} == {
        "GET /oauth/platforms",
        "POST /oauth/{platform}/start",
        "GET /oauth/{platform}/callback",
        "POST /oauth/{platform}/callback",
        "POST /oauth/{platform}/callback/resume",
        "GET /oauth/connections",
        "GET /oauth/connections/{connection_id}",
        "DELETE /oauth/connections/{connection_id}",
        "POST /oauth/connections/{connection_id}/refresh",
        "POST /oauth/connections/{connection_id}/reconnect",
        "GET /oauth/connections/{connection_id}/sub-accounts",
        "PUT /oauth/connections/{connection_id}/sub-accounts",
        "POST /oauth/{platform}/deauthorize",
        "POST /oauth/{platform}/data-deletion",
        "GET /oauth/{platform}/data-deletion",
        "GET /oauth/openapi.json",
        "GET /health",
        "GET /health/ready",
    }


def test_only_what_providers_probes_and_readers_need_is_open_to_everybody():
    assert {route.name for route in ROUTES if not route.needs_owner} == {
        "posted_callback", "deauthorize", "data_deletion", "data_deletion_status", "description", "live", "ready",
    }  # fmt: skip


def test_what_changes_something_for_an_owner_is_no_get_and_what_is_no_get_does():
    for route in ROUTES:
        if route.needs_owner and "callback" not in route.name:  # a flow's cookie and state stand for its browser
            assert route.changes == (route.method != "GET"), route.name


def test_no_route_is_there_twice():
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert len({route.name for route in ROUTES}) == len(ROUTES)


def test_every_path_has_its_routes_by_method():
    found = by_path()
    assert sum(map(len, found.values())) == len(ROUTES)
    for path, by_method in found.items():
        assert all((route.path, route.method) == (path, method) for method, route in by_method.items())


def test_fixed_paths_come_before_those_with_a_parameter_in_their_place():
    paths = list(by_path())
    for place, path in enumerate(paths):
        pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", path))
        hidden = [later for later in paths[place + 1 :] if "{" not in later and pattern.fullmatch(later)]
        assert hidden == []


def test_every_summary_is_a_short_sentence():
    for route in ROUTES:
        assert route.summary
        assert not route.summary.endswith(".")
