"""Spread jobs over an executor, and show how far they are.

A job is a call of one function. Its result must depend on its arguments only; then it does not matter where, when and
in which order the jobs are done.

The processes that are started here end with the process that started them, however it ends: each holds one end of a
pipe whose other end only the parent has, and goes when that is closed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection

from logitmoe.checks import message

__all__ = ["BLAS_THREADS", "SerialExecutor", "run_jobs"]

#: Variables that say with how many threads a BLAS computes.
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
    function: Callable,
    jobs: Iterable[tuple],
    *,
    executor: Executor | None = None,
    progress: bool | Callable[[int, int], None] | None = None,
) -> list:
    """Return ``[function(*job) for job in jobs]``.

    A first Ctrl-C starts no more jobs, and waits for those in hand, which it says; a second one ends them too.

    Parameters
    ----------
    function : callable
        Importable by name, for worker processes.
    jobs : iterable of tuple
        Arguments.
    executor, progress
        As for :func:`replication.runner.run_panels`.

    Raises
    ------
    TypeError
        If `executor` is not an Executor.
    RuntimeError
        If a worker process died.
    """
    if executor is not None and not isinstance(executor, Executor):
        remedy = "pass e.g. ThreadPoolExecutor(2)"
        got = f"a {type(executor).__name__}"
        raise TypeError(message("executor", "a concurrent.futures.Executor", got, remedy))
    jobs, show, results, pending = list(jobs), _progress(progress), {}, {}

    def take(futures):
        for future in futures:
            results[pending.pop(future)] = future.result()
            show(len(results), len(jobs))

    show(0, len(jobs))
    with _executor(executor, len(jobs)) as (workers, end):
        try:
            for number, job in enumerate(jobs):
                pending[workers.submit(function, *job)] = number
                take([future for future in pending if future.done()])
            while pending:
                take(wait(pending, return_when=FIRST_COMPLETED).done)
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a worker process ended unexpectedly. In a script, put the call under 'if __name__ == \"__main__\":', "
                "or pass executor=SerialExecutor(); otherwise look for a lack of memory."
            ) from error
        except KeyboardInterrupt:
            if end is not None:
                _wait_for_last(pending, end)
            raise
        finally:
            for future in pending:
                future.cancel()
    return [results[number] for number in range(len(jobs))]


def _wait_for_last(pending: Iterable[Future], end: Callable[[], None]) -> None:
    """After a first Ctrl-C: wait for the jobs that cannot be cancelled any more; after a second, end the workers."""
    running = [future for future in pending if not future.cancel() and not future.done()]
    if running:
        text = f"interrupted: waiting for {len(running)} chunks in hand; interrupt once more to end them now"
        print(f"\n{text}", file=sys.stderr, flush=True)
    try:
        wait(running)
    except KeyboardInterrupt:
        end()
        raise


@contextmanager
def _executor(given: Executor | None, jobs: int):
    """The executor that was given, or processes of our own that end with the run; and what ends those at once."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(cores, jobs)
    if given is not None or workers <= 1:
        yield given or SerialExecutor(), None
        return
    # The processes are started anew and not forked, as this one may have threads. A child reads the environment when
    # it loads its BLAS: more BLAS threads than cores would only wait for each other.
    before = {name: os.environ.get(name) for name in BLAS_THREADS}
    os.environ.update(dict.fromkeys(BLAS_THREADS, "1"))
    context = get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker, initargs=(theirs,))
    try:
        yield pool, ours.close
    finally:
        pool.shutdown(cancel_futures=True)
        ours.close()
        theirs.close()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _begin_worker(parent: Connection) -> None:
    """In a worker: Ctrl-C is for the parent, which lets the job at hand end; and when the parent is gone, so am I."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Connection) -> None:
    try:
        parent.recv_bytes()  # nothing is ever sent: this returns when the other end is closed
    except (EOFError, OSError):
        pass
    os._exit(1)


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
