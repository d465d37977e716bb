from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

import socialvault.providers as face
from socialvault.exceptions import ConfigurationError
from socialvault.providers import registry
from socialvault.providers.base import Provider


def in_a_fresh_process(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


def test_a_slug_leads_to_its_class():
    assert registry.provider_class("x") is face.X
    assert [registry.provider_class(slug).slug for slug in registry.known_slugs()] == list(registry.known_slugs())


@pytest.mark.parametrize("slug", ["twitter", "X", "", "oauth2", "../x", "base"])
def test_an_unknown_slug_is_answered_with_the_known_ones(slug):
    with pytest.raises(ConfigurationError, match="known are facebook, instagram, linkedin, x; for others see OAuth2"):
        registry.provider_class(slug)


def test_every_class_with_a_slug_is_in_the_registry():
    declared = set()
    for module in pkgutil.iter_modules(face.__path__, f"{face.__name__}."):
        for value in vars(import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, Provider) and value.slug:
                declared.add((value.slug, value))
    assert declared == {(slug, registry.provider_class(slug)) for slug in registry.known_slugs()}


def test_the_catalogue_describes_each_provider():
    described = {entry.slug: entry for entry in registry.catalogue()}
    assert list(described) == ["facebook", "instagram", "linkedin", "x"]
    assert described["facebook"] == registry.CatalogueEntry(
        slug="facebook",
        name="Facebook",
        class_path="socialvault.providers.facebook.Facebook",
        renewal="exchange",
        revocation="delete",
        pkce="S256",
        summary="Connects Facebook accounts and the Pages they manage.",
    )
    assert [(entry.renewal, entry.pkce) for entry in described.values()] == [
        ("exchange", "S256"), ("extend", "unsupported"), ("static", "unsupported"), ("rotating", "S256"),
    ]  # fmt: skip
    for entry in described.values():
        assert entry.summary.endswith(".")
        module, _, name = entry.class_path.rpartition(".")
        assert getattr(import_module(module), name) is registry.provider_class(entry.slug)


def test_the_face_is_sorted_and_complete():
    assert face.__all__ == sorted(face.__all__)
    for exported in face.__all__:
        assert getattr(face, exported).__name__ == exported
        assert exported in dir(face)


def test_the_face_has_nothing_else():
    with pytest.raises(AttributeError, match="has no attribute 'Myspace'"):
        _ = face.Myspace


def test_importing_the_face_or_the_registry_loads_no_provider():
    loaded = in_a_fresh_process(
        "import sys, socialvault.providers, socialvault.providers.registry as r; r.known_slugs(); "
        "print(*[m for m in sys.modules if m.startswith('socialvault.providers.')])"
    )
    assert set(loaded) == {"socialvault.providers.registry"}


def test_one_provider_loads_no_other():
    loaded = in_a_fresh_process(
        "import sys; from socialvault.providers import X; X('client', 'secret'); "
        "print(*[m for m in sys.modules if m.startswith(('socialvault.providers.', 'httpx', 'joserfc'))])"
    )
    assert set(loaded) == {"socialvault.providers.base", "socialvault.providers.x"}
