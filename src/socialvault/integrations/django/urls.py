"""The routes, for ``include("socialvault.integrations.django.urls")``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from django.apps import apps
from django.urls import path

from socialvault.http.routes import by_path
from socialvault.integrations.django.views import view_of

if TYPE_CHECKING:
    from django.urls import URLPattern

    from socialvault.integrations.django.apps import SocialVaultConfig

_PARAMETER = re.compile(r"\{(\w+)\}")

app_name = "socialvault"


def _patterns() -> list[URLPattern]:
    config = cast("SocialVaultConfig", apps.get_app_config("socialvault"))
    found = []
    for route_path, by_method in by_path().items():
        name = "_".join(one.name for one in by_method.values())
        pattern = _PARAMETER.sub(r"<str:\1>", route_path.removeprefix("/"))
        found.append(path(pattern, view_of(config, by_method), name=name))
    return found


urlpatterns = _patterns()
