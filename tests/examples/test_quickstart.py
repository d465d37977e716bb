from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.py"


def test_the_quick_start_runs_as_it_is():
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(QUICKSTART)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    for line in (
        "connected Ada Lovelace; the browser goes to /settings",
        "60 days later X answers 200 for ada",
        "  event: refreshed at x",
        "selected Page 1, one of 12 Pages",
        "disconnected x: revoked",
        "disconnected facebook: revoked",
    ):
        assert line in ended.stdout.splitlines()
    assert not re.search(r"\b(?:x|facebook)-(?:at|rt|pt|code)-g\d|svk1_", ended.stdout)


def test_the_quick_start_stays_short():
    assert len(QUICKSTART.read_text("utf-8").splitlines()) <= 60
