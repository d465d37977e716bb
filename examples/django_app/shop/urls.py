"""The routes: our own, Django's sign-in, and the library's."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

from . import views

# --8<-- [start:urls]
urlpatterns = [
    path("", views.accounts),
    path("accounts/<str:connection_id>/use", views.use),
    path("accounts/<str:connection_id>/disconnect", views.disconnect),
    path("sign-in", LoginView.as_view()),
    path("sign-out", LogoutView.as_view()),
    path("api/v1/", include("socialvault.integrations.django.urls")),
]
# --8<-- [end:urls]
