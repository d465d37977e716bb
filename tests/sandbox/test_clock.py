import subprocess
import sys
import threading
import time
from datetime import UTC, timedelta

from socialvault.sandbox.clock import ManualClock


def test_a_clock_follows_real_time():
    clock = ManualClock()
    assert abs(clock.now_seconds() - time.time()) < 0.5
    before = clock.now_seconds()
    time.sleep(0.002)
    assert clock.now_seconds() > before


def test_a_clock_is_pushed_forward_and_back():
    clock = ManualClock()
    clock.advance(timedelta(days=30))
    assert 30 * 86400 - 1 < clock.now_seconds() - time.time() < 30 * 86400 + 1
    clock.advance(timedelta(days=-31))
    assert clock.now_seconds() < time.time() - 86000


def test_a_frozen_clock_stands_still_and_can_still_be_pushed():
    clock = ManualClock()
    clock.freeze()
    before = clock.now_seconds()
    clock.freeze()
    time.sleep(0.002)
    assert clock.now_seconds() == before
    clock.advance(timedelta(seconds=10))
    assert clock.now_seconds() == before + 10


def test_a_reset_clock_is_back_at_real_time():
    clock = ManualClock()
    clock.freeze()
    clock.advance(timedelta(days=1))
    clock.reset()
    assert abs(clock.now_seconds() - time.time()) < 0.5


def test_now_is_aware_and_utc():
    now = ManualClock().now()
    assert now.tzinfo is UTC
    assert abs(now.timestamp() - time.time()) < 0.5


def test_threads_that_push_together_lose_nothing():
    clock = ManualClock()
    clock.freeze()
    start = clock.now_seconds()
    threads = [
        threading.Thread(target=lambda: [clock.advance(timedelta(seconds=1)) for _ in range(200)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now_seconds() == start + 1600


def test_the_clock_and_the_plugin_load_no_web_server():
    probe = (
        "import sys, socialvault.sandbox.clock, socialvault.sandbox\n"
        "socialvault.sandbox.ManualClock()\n"
        "import socialvault.sandbox.pytest_plugin\n"
        "heavy = {'starlette', 'uvicorn', 'joserfc', 'httpx', 'cryptography'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
