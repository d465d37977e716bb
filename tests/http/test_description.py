"""The routes' own description, as it is answered."""

from socialvault import __version__
from socialvault.http.openapi import document
from socialvault.http.routes import ROUTES


async def test_everybody_may_read_the_whole_document(desk):
    answer = await desk.ask("GET", "/oauth/openapi.json", owner=None)
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert answer.json == document(__version__, "/", ROUTES)


async def test_it_describes_itself(desk):
    answer = await desk.ask("GET", "/oauth/openapi.json", owner=None)
    assert "/oauth/openapi.json" in answer.json["paths"]
