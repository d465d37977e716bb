"""A blocking caller that is interrupted loses nothing: the work is not on its thread."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
    import signal, sys, threading, time, os
    from datetime import timedelta
    from socialvault import LocalKeyring, Vault
    from socialvault.sandbox import Sandbox

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
    with Sandbox() as sandbox:
        vault = Vault(
            providers=[sandbox.provider("x")], store=f"sqlite:///{sys.argv[1]}/v.db",
            keys=LocalKeyring([LocalKeyring.generate()]), redirect_uri="http://127.0.0.1:9/cb", clock=sandbox.clock,
        )
        login = vault.begin("x", owner="me")
        done = vault.complete(
            sandbox.authorize(login.url), provider="x", owner="me", cookies={login.cookie.name: login.cookie.value}
        )
        interrupted = 0
        for delay_ms in (1, 20, 60, 120, 200, 260):
            sandbox.clock.advance(timedelta(hours=3))
            sandbox.fault("x", "token", latency=timedelta(milliseconds=150))
            try:
                threading.Timer(delay_ms / 1000, os.kill, (os.getpid(), signal.SIGINT)).start()
                vault.token(done.connection.id, owner="me")
                time.sleep(30)  # until it comes, however busy the machine is
            except KeyboardInterrupt:
                interrupted += 1
            token = vault.token(done.connection.id, owner="me")
            assert token.reveal() in sandbox.live_tokens("x"), delay_ms
        refreshes = sandbox.log.count(provider="x", grant_type="refresh_token")
        assert sandbox.log.count(outcome="reuse_detected") == 0
        vault.close()
        print(interrupted, refreshes)
"""


def test_f_06_a_keyboard_interrupt_leaves_the_newest_token_stored(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(SCRIPT), str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    interrupted, refreshes = map(int, run.stdout.split())
    assert interrupted == 6
    assert refreshes == 6
