"""Behind a proxy that ends TLS and mounts the application under a path of its own, whatever it says about that."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import pytest
from support.browser import OWN_FORM, PAGE, connection_of, query_of
from support.servers import PREFIX, HostPlan, free_port, launch_nginx

from socialvault.exceptions import ConfigurationError

if TYPE_CHECKING:
    from support.browser import Browser

    from socialvault.sandbox import Sandbox

PLATFORMS = ("x", "linkedin", "facebook", "oidc")
ROOT = "/shop"
#: What the proxy tells the application, and what the client sends on top of it.
LIES = {
    "says-nothing": {},
    "plain-http": {"X-Forwarded-Proto": "http", "X-Forwarded-Port": "80"},
    "internal-host": {"Host": "app.internal:8000", "X-Forwarded-Host": "app.internal:8000"},
    "forged": {
        "Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http",
        "X-Forwarded-For": "::1", "X-Forwarded-Prefix": "/evil", "X-Forwarded-Uri": "/evil", "X-Script-Name": "/evil",
        "Forwarded": "host=evil.example;proto=http",
    },
    "doubled": {"X-Forwarded-Host": "evil.example, 127.0.0.1", "X-Forwarded-Proto": "https, http"},
}  # fmt: skip


@pytest.fixture(scope="module")
def shop(farm: Any, sandbox: Sandbox) -> Any:
    """FastAPI on four workers below ``/shop``, which nginx takes off; each redirect URI is registered."""
    port = free_port()
    public = f"https://127.0.0.1:{port}{ROOT}{PREFIX}"
    for slug in PLATFORMS:
        callback = f"{public}/oauth/{slug}/callback"
        sandbox.register(slug, client_id=f"shop-{slug}", refresh_tokens=True, redirect_uris=[callback])
    host = farm.launch(
        "fastapi-shop", HostPlan(framework="fastapi", workers=4, public=public, options={"client": "shop"})
    )
    # the client's own headers go through as they are: the worst that a proxy can do
    nginx = launch_nginx(
        farm.directory / "nginx", port,
        f"""
    location = /proxy-is-up {{ return 200; }}
    location {ROOT}/ {{
      proxy_pass http://127.0.0.1:{host.server.port}/;
      proxy_set_header Host $http_host;
      proxy_redirect off;
    }}
    """,
    )  # fmt: skip
    farm.others.append(nginx)
    nginx.wait()
    host.site.verify = ssl.create_default_context(cafile=str(farm.directory / "nginx" / "work" / "cert.pem"))
    return host.ready()


@pytest.fixture
def customer(shop: Any) -> Browser:
    browser: Browser = shop.browser()
    return browser


@pytest.mark.parametrize("slug", PLATFORMS)
@pytest.mark.parametrize("lie", LIES)
def test_the_redirect_uri_is_the_registered_one_byte_for_byte(
    customer: Browser, sandbox: Sandbox, lie: str, slug: str
) -> None:
    registered = f"{customer.site.public}/oauth/{slug}/callback"
    started = customer.request(
        "POST", f"/oauth/{slug}/start", headers={**OWN_FORM, **LIES[lie]}, data={"return_to": f"{ROOT}/home"}
    )
    assert started.status_code == 303, started.text
    url = started.headers["location"]
    assert f"{urlencode({'redirect_uri': registered})}&" in url

    [cookie] = started.headers.get_list("set-cookie")
    attributes = [part.strip() for part in cookie.split(";")[1:]]
    assert f"Path={ROOT}{PREFIX}/oauth/{slug}/callback" in attributes
    assert {"Secure", "HttpOnly", "SameSite=Lax"} <= set(attributes)
    assert "Domain" not in cookie

    callback = customer.consent(url)  # refused for any URI but the registered one
    assert callback.url.startswith(registered)
    before = len(sandbox.log)
    done = customer.request("GET", callback.url.partition("#")[0], headers={**PAGE, **LIES[lie]})
    connection_id = connection_of(done)
    assert done.headers["location"] == f"{ROOT}/home?connection={connection_id}"
    # and refused again at the token endpoint, if it were another one there
    assert next(one.outcome for one in sandbox.log[before:] if one.endpoint == "token") == "issued"
    assert customer.post(f"/oauth/connections/{connection_id}/refresh").status_code == 200


@pytest.mark.parametrize("slug", PLATFORMS)
def test_the_sandbox_refuses_any_other_redirect_uri(customer: Browser, slug: str) -> None:
    url = customer.start(slug)
    for written, instead in (("https%3A", "http%3A"), ("%2Fshop%2F", "%2F"), ("127.0.0.1", "localhost")):
        before, _, query = url.partition("?")
        with pytest.raises(ConfigurationError):
            customer.consent(f"{before}?{query.replace(written, instead)}")


def test_every_page_leads_back_below_the_path(customer: Browser) -> None:
    callback = customer.consent(customer.start("oidc", return_to=f"{ROOT}/home") + "&response_mode=form_post")
    page = customer.post_from_provider(callback)
    assert f'action="{ROOT}{PREFIX}/oauth/oidc/callback/resume"' in page.text
    assert connection_of(customer.resume(page))

    failure = customer.elsewhere().deliver(customer.consent(customer.start("x")))
    assert failure.status_code == 400
    assert f'<form method="post" action="{ROOT}{PREFIX}/oauth/x/start">' in failure.text
    again = customer.request("POST", customer.site.origin + f"{ROOT}{PREFIX}/oauth/x/start", headers=OWN_FORM)
    assert query_of(again.headers["location"])["redirect_uri"] == f"{customer.site.public}/oauth/x/callback"


def test_the_own_origin_is_the_public_one(customer: Browser, shop: Any) -> None:
    accepted = {"Accept": "application/json", "Origin": customer.site.origin}
    assert customer.request("POST", "/oauth/x/start", headers=accepted).status_code == 200
    parts = urlsplit(customer.site.public)
    for foreign in (f"http://{parts.netloc}", f"http://127.0.0.1:{shop.server.port}", "https://127.0.0.1"):
        refused = {"Accept": "application/json", "Origin": foreign, "Host": foreign.partition("://")[2]}
        assert customer.request("POST", "/oauth/x/start", headers=refused).status_code == 403


def test_without_tls_the_flows_cookie_stays_at_home(customer: Browser) -> None:
    """The cookie is Secure: whoever reaches the application around the proxy can't finish a flow."""
    customer.start("x")
    cookies = [cookie for cookie in customer.http.cookies.jar if cookie.name.startswith("socialvault_")]
    assert cookies
    assert all(cookie.secure for cookie in cookies)


def test_several_workers_are_behind_it(customer: Browser, shop: Any) -> None:
    first = customer.request("GET", "/health", headers=PAGE).headers["x-worker"]
    with shop.without(first):
        assert customer.request("GET", "/health", headers=PAGE).headers["x-worker"] != first
