"""What the how-to pages say is so."""

from __future__ import annotations

import re
from pathlib import Path

from socialvault import exceptions
from socialvault.http import routes
from socialvault.http.problems import STATUSES, code_of, status_of
from socialvault.http.settings import Options

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "index.md").read_text("utf-8")
ROW = re.compile(r"^\| (`[^|]+) \| (\d{3}) \| (?:`(\w+)`|varies) \|", re.MULTILINE)
ERRORS = {
    code_of(one.__new__(one)): one
    for one in vars(exceptions).values()
    if isinstance(one, type) and issubclass(one, exceptions.SocialVaultError)
}


def test_the_table_of_errors_is_right() -> None:
    shown = {
        code: (int(status), action)
        for codes, status, action in ROW.findall(PAGE)
        for code in re.findall(r"`(\w+)`", codes)
    }
    assert len(shown) > 30
    for code, (status, action) in shown.items():
        if code in ERRORS:
            problem = ERRORS[code]
            assert (status, action) == (status_of(problem.__new__(problem)), problem.action), code
    branches = {exceptions.SocialVaultError, exceptions.AuthorizationError, exceptions.RefreshError}
    assert {code_of(one.__new__(one)) for one in STATUSES.keys() - branches} <= shown.keys()


def test_the_table_of_routes_names_each_path_for_owners() -> None:
    paths = {one.path for one in routes.ROUTES if one.needs_owner} - {"/oauth/{platform}/callback/resume"}
    for path in paths:
        assert path.replace("{connection_id}", "{id}") in PAGE, path


def test_the_table_of_options_is_whole() -> None:
    named = set(re.findall(r"^\| `(\w+)` \| ", PAGE, re.MULTILINE))
    assert {"owner", "tenant", "on_connected", *Options.__annotations__} <= named
