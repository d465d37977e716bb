"""A filled database to back up, and a sandbox to renew at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.backups import Service

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(f"sqlite:///{tmp_path}/vault.db")


@pytest.fixture
def database(service: Service, tmp_path: Path) -> Path:
    """The service's file, filled and closed."""
    service.fill()
    return tmp_path / "vault.db"
