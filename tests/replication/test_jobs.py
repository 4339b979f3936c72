"""The runner of jobs: results in order whatever computes them, and nothing left running when it is stopped."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from replication.jobs import SerialExecutor, run_jobs

#: Starts two workers that write their process ids to a folder and then have work for ten minutes.
SCRIPT = """
import os, sys, time
from pathlib import Path
from replication import jobs

def long(folder):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600.0)

if __name__ == "__main__":
    jobs.os.sched_getaffinity = lambda pid: {0, 1}
    jobs.run_jobs(long, [(sys.argv[1],)] * 4)
"""


@pytest.mark.parametrize("executor", [SerialExecutor(), ThreadPoolExecutor(3)], ids=["serial", "threads"])
def test_results_come_in_the_order_of_the_jobs(executor):
    told = []
    results = run_jobs(pow, ((n, 2) for n in range(7)), executor=executor, progress=lambda *at: told.append(at))
    assert results == [n**2 for n in range(7)]
    assert told == [(done, 7) for done in range(8)]
    assert run_jobs(pow, [], executor=executor) == []


def test_a_bad_executor_and_an_error_in_a_job():
    with pytest.raises(TypeError, match="^executor: expected a concurrent.futures.Executor"):
        run_jobs(pow, [(1, 2)], executor=2)
    with pytest.raises(ZeroDivisionError):
        run_jobs(pow, [(0, -1)], executor=SerialExecutor())


def test_a_worker_that_dies_is_reported(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    with pytest.raises(RuntimeError, match="a worker process ended unexpectedly"):
        run_jobs(os._exit, [(3,)] * 2)


def alive(pid):
    """Whether a process runs; one that has ended and that nobody has asked for its status does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    try:
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:  # it ended in between
        return False


def wait_until(condition):
    """Whether a condition comes true while a worker still has most of its ten minutes to go."""
    for _ in range(600):
        if condition():
            return True
        time.sleep(0.1)
    return False


@pytest.fixture
def running(tmp_path):
    """A process with two workers that are at work: the process, and the workers' ids."""
    script, folder = tmp_path / "script.py", tmp_path / "workers"
    script.write_text(SCRIPT)
    folder.mkdir()
    process = subprocess.Popen([sys.executable, script, folder], stderr=subprocess.PIPE, text=True)
    try:
        assert wait_until(lambda: len(os.listdir(folder)) == 2)
        workers = [int(name) for name in os.listdir(folder)]
        assert all(map(alive, workers))
        yield process, workers
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        for worker in filter(alive, map(int, os.listdir(folder))):
            os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_parent(running, number):
    process, workers = running
    process.send_signal(number)
    assert process.wait() == -number
    assert wait_until(lambda: not any(map(alive, workers)))


def test_the_first_interrupt_says_what_it_waits_for_and_the_second_ends_everything(running):
    process, workers = running
    process.send_signal(signal.SIGINT)
    said = iter(process.stderr.readline, "")
    assert any("interrupted: waiting for" in line and "interrupt once more" in line for line in said)
    assert process.poll() is None and all(map(alive, workers))
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate()[1]
    assert process.returncode != 0
    assert wait_until(lambda: not any(map(alive, workers)))
