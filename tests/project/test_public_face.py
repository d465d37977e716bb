"""What `socialvault` exports, what importing it costs, and that both colours say the same."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import socialvault
from socialvault import AsyncVault, Vault, exceptions
from socialvault.api.async_vault import AsyncAdmin
from socialvault.api.vault import Admin
from socialvault.exceptions import SocialVaultError

ROOT = Path(__file__).parents[2]
DUNDERS = {"__aenter__": "__enter__", "__aexit__": "__exit__", "aclose": "close"}


def test_exported_names_are_sorted_and_are_the_names_that_dir_shows() -> None:
    assert socialvault.__all__ == sorted(socialvault.__all__)
    # pytest rewrites assertions of packages with plugins and leaves names with an @ behind.
    public = {name for name in dir(socialvault) if name.isidentifier() and not name.startswith("_")}
    submodules = {name for name in public if f"socialvault.{name}" in sys.modules}
    assert public - submodules - {"TYPE_CHECKING", "annotations"} == set(socialvault.__all__)


@pytest.mark.parametrize("name", socialvault.__all__)
def test_every_exported_name_can_be_imported(name: str) -> None:
    found = getattr(socialvault, name)
    assert found.__name__ == name
    assert found.__module__.startswith("socialvault.")
    assert found.__doc__


def test_a_name_that_is_not_exported_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = socialvault.nonsense  # type: ignore[attr-defined]


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after `statement`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


DEPENDENCIES = {"cryptography", "httpcore", "httpx", "joserfc", "pydantic", "sqlalchemy", "tenacity"}
HEAVY = {"asyncio", "sqlite3", "ssl", *DEPENDENCIES}


def test_importing_the_package_loads_nothing_heavy() -> None:
    # Coverage, pytest plugins and .pth files may load what they like: what counts is what the import adds.
    added = loaded_by("import socialvault") - loaded_by("pass")
    assert "socialvault" in added
    assert added & HEAVY == set()


def test_importing_the_vault_loads_no_http_client_and_no_pydantic() -> None:
    added = loaded_by("from socialvault import AsyncVault, Vault") - loaded_by("pass")
    assert "socialvault.api.vault" in added
    assert added & {"httpcore", "httpx", "pydantic", "sqlalchemy"} == set()


def test_the_version_is_the_same_everywhere_it_is_written() -> None:
    newest = re.search(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest is not None
    assert socialvault.__version__ == newest[1] == importlib.metadata.version("socialvault")


# --- the two colours ------------------------------------------------------------------------------


def methods(cls: type) -> dict[str, inspect.Signature]:
    """Return the signatures of a class's own public methods under their blocking names; returns left out."""
    found = {}
    for name, member in vars(cls).items():
        if inspect.isfunction(member) and (not name.startswith("_") or name in DUNDERS or name in DUNDERS.values()):
            signature = inspect.signature(member).replace(return_annotation=inspect.Signature.empty)
            found[DUNDERS.get(name, name)] = signature
    return found


@pytest.mark.parametrize(("blocking", "asynchronous"), [(Vault, AsyncVault), (Admin, AsyncAdmin)])
def test_both_colours_have_the_same_methods_with_the_same_arguments(blocking: type, asynchronous: type) -> None:
    assert methods(blocking) == methods(asynchronous)
    assert len(methods(blocking)) >= 4


def test_both_constructors_take_the_same_arguments_with_the_same_defaults() -> None:
    def arguments(cls: type) -> list[tuple[str, object, object]]:
        return [(one.name, one.kind, one.default) for one in inspect.signature(cls).parameters.values()]

    assert arguments(Vault) == arguments(AsyncVault)


@pytest.mark.parametrize("cls", [Vault, AsyncVault])
def test_whatever_names_a_connection_takes_its_owner_and_tenant_by_keyword(cls: type) -> None:
    named = {name: one for name, one in methods(cls).items() if "connection_id" in one.parameters}
    assert {"begin", "token", "refresh", "connection", "disconnect", "client", "source"} <= named.keys()
    for signature in named.values():
        owner, tenant = signature.parameters["owner"], signature.parameters["tenant"]
        assert owner.kind is tenant.kind is inspect.Parameter.KEYWORD_ONLY
        assert owner.default is inspect.Parameter.empty
        assert tenant.default == ""


@pytest.mark.parametrize("cls", [Vault, AsyncVault, Admin, AsyncAdmin])
def test_every_public_method_is_documented(cls: type) -> None:
    public = {name: member for name, member in vars(cls).items() if inspect.isfunction(member) and name[0] != "_"}
    assert [name for name, member in public.items() if not member.__doc__] == []


# --- errors ---------------------------------------------------------------------------------------

TREE_LINE = re.compile(r"^    ([│ ├└─]*)(\w+Error) +(\w+)", re.MULTILINE)


def tree() -> list[type[SocialVaultError]]:
    """Return every error class, parents before children."""

    def below(cls: type[SocialVaultError]) -> list[type[SocialVaultError]]:
        return [cls, *(child for one in cls.__subclasses__() for child in below(one))]

    return [cls for cls in below(SocialVaultError) if cls.__module__ == exceptions.__name__]


def drawn() -> dict[str, tuple[str, str]]:
    """Return the tree of the module's docstring: class name -> parent's name and action."""
    found: dict[str, tuple[str, str]] = {}
    path: list[str] = []
    for branch, name, action in TREE_LINE.findall(exceptions.__doc__ or ""):
        depth = len(branch) // 4
        path[depth:] = [name]
        found[name] = (path[depth - 1] if depth else "Exception", action)
    return found


def test_the_drawn_tree_is_the_tree() -> None:
    assert drawn() == {cls.__name__: (cls.__bases__[0].__name__, cls.action) for cls in tree()}


@pytest.mark.parametrize("cls", tree(), ids=lambda cls: cls.__name__)
def test_every_error_says_who_must_act_and_what_it_means(cls: type[SocialVaultError]) -> None:
    assert cls.action in {"retry", "reauthorize", "fix_configuration", "report"}
    assert cls.__name__.endswith("Error")
    assert cls.__doc__
