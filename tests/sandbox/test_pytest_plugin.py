"""The fixtures, as a project that installs socialvault sees them."""

import os
import subprocess
import sys
from importlib.metadata import entry_points

TESTS = """
from datetime import timedelta
import time

def test_first(socialvault_sandbox):
    socialvault_sandbox.fault("x", "token", status=500)
    socialvault_sandbox.clock.advance(timedelta(days=1))
    test_first.url = socialvault_sandbox.base_url

def test_second(socialvault_sandbox):
    assert len(socialvault_sandbox.log) == 0
    assert abs(socialvault_sandbox.clock.now_seconds() - time.time()) < 1
    assert socialvault_sandbox.base_url == test_first.url  # one server serves them all
"""
LIGHT = """
import sys

def test_light():
    assert not {"starlette", "uvicorn", "joserfc", "httpx"} & set(sys.modules)
"""


def run_theirs(tmp_path, tests):
    (tmp_path / "test_theirs.py").write_text(tests)
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    plugin = ["-p", "socialvault.sandbox.pytest_plugin"]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [*command, *plugin, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )


def test_the_plugin_is_found_by_pytest():
    [found] = [entry for entry in entry_points(group="pytest11") if entry.name == "socialvault"]
    assert found.value == "socialvault.sandbox.pytest_plugin"


def test_one_server_serves_all_tests_and_each_starts_clean(tmp_path):
    done = run_theirs(tmp_path, TESTS)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_a_project_that_does_not_use_the_fixtures_loads_nothing(tmp_path):
    done = run_theirs(tmp_path, LIGHT)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
