"""Django: an app config and urls. Needs ``pip install 'socialvault[django]'``.

::

    INSTALLED_APPS += ["socialvault.integrations.django"]
    SOCIALVAULT = {"vault": "shop.accounts.vault", "owner": "shop.accounts.owner_id"}

    urlpatterns = [path("api/v1/", include("socialvault.integrations.django.urls"))]
"""
