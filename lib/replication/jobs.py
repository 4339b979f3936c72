"""Spread jobs over an executor, show how far they are, and keep their results in a file.

A job is a call of one function that returns named arrays. Its result must depend on its arguments only; then it
does not matter where, when and in which order the jobs are done.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from logitmoe.checks import message

__all__ = ["BLAS_THREADS", "FORMAT", "SerialExecutor", "run_jobs"]

#: Written to results files, and asked of them.
FORMAT = "logitmoe results 1"
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class SerialExecutor(Executor):
    """An executor that computes at once, in the calling thread."""

    def submit(self, fn, /, *args, **kwargs) -> Future:
        """Call ``fn(*args, **kwargs)`` now."""
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def run_jobs(
    function: Callable[..., dict[str, np.ndarray]],
    jobs: list[tuple],
    *,
    records: list[dict],
    executor: Executor | None = None,
    progress: bool | Callable[[int, int], None] | None = None,
    store: str | Path | None = None,
) -> list[dict[str, np.ndarray]]:
    """Return ``[function(*job) for job in jobs]``.

    Parameters
    ----------
    function : callable
        Importable by name, for worker processes.
    jobs : list of tuple
        Arguments.
    records : list of dict
        What the results depend on, in terms of JSON, each with a ``"name"``: a results file with other records is
        refused.
    executor, progress, store
        As for :func:`replication.panels.run_panels`.

    Raises
    ------
    TypeError, ValueError
        If `executor` is not an Executor, or `store` is not a results file of these records.
    RuntimeError
        If a worker process died.
    """
    if executor is not None and not isinstance(executor, Executor):
        remedy = "pass e.g. ThreadPoolExecutor(2)"
        got = f"a {type(executor).__name__}"
        raise TypeError(message("executor", "a concurrent.futures.Executor", got, remedy))
    show = _progress(progress)
    with _Store(store, records) as saved:
        results = saved.read()
        show(len(results), len(jobs))
        todo = {number: job for number, job in enumerate(jobs) if number not in results}
        with _executor(executor, len(todo)) as workers:
            for number, result in _as_done(workers, function, todo):
                saved.write(number, result)
                results[number] = result
                show(len(results), len(jobs))
    return [results[number] for number in range(len(jobs))]


def _as_done(executor: Executor, function: Callable, jobs: dict[int, tuple]):
    """Yield (number, result) as the jobs are done, in any order."""
    pending: dict[Future, int] = {}
    try:
        for number, job in jobs.items():
            pending[executor.submit(function, *job)] = number
            for future in [future for future in pending if future.done()]:
                yield pending.pop(future), future.result()
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                yield pending.pop(future), future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process ended unexpectedly. In a script, put the call under "
            "'if __name__ == \"__main__\":', or pass executor=SerialExecutor(); otherwise look for a lack of memory."
        ) from error
    finally:
        for future in pending:
            future.cancel()


@contextmanager
def _executor(given: Executor | None, jobs: int):
    """The executor that was given, or processes of our own that end with the run."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(cores, jobs)
    if given is not None or workers <= 1:
        yield given or SerialExecutor()
        return
    # The processes are started anew and not forked, as this one may have threads. A child reads the environment when
    # it loads its BLAS: more BLAS threads than cores would only wait for each other.
    before = {name: os.environ.get(name) for name in BLAS_THREADS}
    os.environ.update(dict.fromkeys(BLAS_THREADS, "1"))
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_ignore_interrupts)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _ignore_interrupts() -> None:
    """In a worker: Ctrl-C is for the parent, which lets the job at hand end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _progress(wanted: bool | Callable[[int, int], None] | None) -> Callable[[int, int], None]:
    """A function to tell (done, total) to."""
    if callable(wanted):
        return wanted
    if wanted is None:
        # Jupyter's server names the session of a notebook that a person opened. A notebook that a program runs, to
        # build the book or to test it, has none.
        live = sys.stderr.isatty() or ("JPY_SESSION_NAME" in os.environ and "ipykernel" in sys.modules)
        wanted = live and not os.environ.get("CI")
    if not wanted:
        return lambda done, total: None
    began = time.monotonic()

    def show(done: int, total: int) -> None:
        filled = 30 * done // max(total, 1)
        text = f"\r[{'#' * filled:.<30}] {done} of {total} chunks, {time.monotonic() - began:.0f} s"
        print(text, end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show


class _Store:
    """The results file: the records, and one row for each job that was done. Without a path it does nothing."""

    def __init__(self, path: str | Path | None, records: list[dict]) -> None:
        self.path, self.records = path, records

    def __enter__(self) -> _Store:
        if self.path is not None:
            self.file = sqlite3.connect(self.path)
            try:
                self._open()
            except sqlite3.DatabaseError as error:
                self.file.close()
                got = f"{self.path}: {error}"
                raise ValueError(message("store", "a results file", got, "give another path")) from error
            except ValueError:
                self.file.close()
                raise
        return self

    def _open(self) -> None:
        with self.file:
            self.file.execute("CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT)")
            self.file.execute("CREATE TABLE IF NOT EXISTS results (number INTEGER PRIMARY KEY, data BLOB)")
            known = dict(self.file.execute("SELECT name, value FROM about"))
            if not known:
                rows = (("format", FORMAT), ("records", json.dumps(self.records)))
                self.file.executemany("INSERT INTO about VALUES (?, ?)", rows)
                return
        self._compare("format", FORMAT, known.get("format"))
        records = json.loads(known["records"])
        self._compare("number of panels", len(self.records), len(records))
        for wanted, found in zip(self.records, records, strict=True):
            for name in wanted:
                self._compare(f"field {name!r} of panel {wanted['name']!r}", wanted[name], found.get(name))

    @staticmethod
    def _compare(what: str, wanted, found) -> None:
        if found != wanted:
            remedy = "give another path, or delete the file"
            raise ValueError(message("store", f"a file of this run, with {what} {wanted}", f"{found}", remedy))

    def read(self) -> dict[int, dict[str, np.ndarray]]:
        """The results that are there, by number."""
        if self.path is None:
            return {}
        results = {}
        for number, data in self.file.execute("SELECT number, data FROM results"):
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                results[number] = dict(archive)
        return results

    def write(self, number: int, result: dict[str, np.ndarray]) -> None:
        """Add a result, in one transaction: it is there entirely or not at all."""
        if self.path is None:
            return
        buffer = io.BytesIO()
        np.savez(buffer, **result)
        with self.file:
            self.file.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (number, buffer.getvalue()))

    def __exit__(self, *exception) -> None:
        if self.path is not None:
            self.file.close()
