"""Workers do not outlive the process that started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT

SCRIPT = """
import time
from stscq.processes import worker_pool

if __name__ == "__main__":
    pool = worker_pool(2)
    waits = [pool.submit(time.sleep, 600) for _ in range(2)]
    print(*pool._processes, flush=True)
    time.sleep(600)
"""


def alive(pid):
    """Runs, or waits to be asked how it ended (then /proc says Z)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_end_with_a_killed_parent(tmp_path):
    (tmp_path / "parent.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, env=environment) as parent:
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        time.sleep(1)  # they import, and begin to wait
        assert all(map(alive, workers))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    until = time.monotonic() + 30
    while any(map(alive, workers)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(alive, workers))
