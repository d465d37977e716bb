from __future__ import annotations

import json

from socialvault.providers.registry import known_slugs

FACEBOOK = {
    "slug": "facebook",
    "name": "Facebook",
    "renewal": "exchange",
    "revocation": "delete",
    "pkce": "S256",
    "sub_accounts": "page",
    "note": "emulated in the sandbox, not checked live",
}


def test_json_lists_every_provider(invoke):
    listed = json.loads(invoke("providers", "--json").stdout)
    assert tuple(one["slug"] for one in listed) == known_slugs()
    assert FACEBOOK in listed


def test_the_table_says_that_nothing_was_checked_live(invoke):
    lines = invoke("providers").stdout.splitlines()
    for slug in known_slugs():
        [line] = [line for line in lines if line.strip().startswith(f"{slug} ")]
        assert "emulated in the sandbox, not checked live" in line
    [linkedin] = [line for line in lines if "LinkedIn" in line]
    assert linkedin.split()[1:6] == ["LinkedIn", "static", "rfc7009", "unsupported", "organization"]
