"""The routes, for ``include("socialvault.integrations.django.urls")``."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.apps import apps
from django.urls import path

from socialvault.http.mounting import name_of, with_parameters
from socialvault.http.routes import by_path
from socialvault.integrations.django.views import view_of

if TYPE_CHECKING:
    from django.urls import URLPattern

    from socialvault.integrations.django.apps import SocialVaultConfig

app_name = "socialvault"


def _patterns() -> list[URLPattern]:
    config = cast("SocialVaultConfig", apps.get_app_config("socialvault"))
    found = []
    for route_path, by_method in by_path().items():
        pattern = with_parameters(route_path.removeprefix("/"), r"<str:\1>")
        found.append(path(pattern, view_of(config, by_method), name=name_of(by_method)))
    return found


urlpatterns = _patterns()
