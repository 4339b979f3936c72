"""Run the chapters side by side, each in a kernel of its own.

    python tools/execute.py                    run every chapter of _toc.yml and store its outputs (also: make execute)
    python tools/execute.py book/model.ipynb   one chapter

A chapter is run from top to bottom, in its own folder, and written only when all of it has run. What depends on the
machine or on the editor is left out: times, the kernel's version, and all metadata of cells but the tags and the
figures' descriptions. The book is built by the same code (`_ext/run_chapters.py`), into a folder of the build.
"""

import argparse
import asyncio
import atexit
import os
import re
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import nbclient
import nbformat

ROOT = Path(__file__).resolve().parent.parent
LONGEST = ("protocol", "simulations", "asymptotics")  # started first, so that none of them is left over at the end
LAST = ("introduction", "ledger")  # they read the verdicts of the other chapters, and wait for them
CHAPTERS_VARIABLE = "BOOK_CHAPTERS"  # to a chapter, the folder where those of this run lie that it may read

NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
CELL_METADATA = ("tags", "mystnb")
TERMINAL_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class ChapterError(RuntimeError):
    """A chapter that could not be run: which one, in which cell, and the traceback."""


def chapters(root=ROOT):
    """Paths of the notebooks in the table of contents, in its order."""
    entries = re.findall(
        r"^\s*(?:- )?(?:root|file): *(\S+)", (root / "_toc.yml").read_text("utf-8"), re.MULTILINE
    )
    return [path for path in (root / f"{entry}.ipynb" for entry in entries) if path.exists()]


def in_turn(paths):
    """Split `paths` into those that are run first, the longest in front, and those that read what the first say."""
    order = {name: place for place, name in enumerate(LONGEST)}
    first = [path for path in paths if path.stem not in LAST]
    return sorted(first, key=lambda path: order.get(path.stem, len(LONGEST))), [p for p in paths if p.stem in LAST]


def normalise(notebook):
    """Remove, in place, the metadata that says nothing about the chapter."""
    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(
            {key: cell.metadata[key] for key in CELL_METADATA if key in cell.metadata}
        )
    return notebook


def write(path, text):
    """Write `text` to `path` whole or not at all: a full disk or a kill leaves the file that was there."""
    beside = path.with_name(f".{path.name}.partial")
    try:
        with open(beside, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


class Run:
    """Chapters in hand: runs one in the calling thread, and ends all of them from another.

    Parameters
    ----------
    clients : list of nbclient.NotebookClient
        One for each kernel that has been started.
    """

    def __init__(self):
        self.clients = []

    def chapter(self, path, target, environment):
        """Run the notebook `path`, write it to `target` and return the seconds that took."""
        started = time.monotonic()
        notebook = nbformat.read(path, as_version=4)
        client = nbclient.NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=None,
            record_timing=False,
            coalesce_streams=True,
            extra_arguments=["--HistoryManager.enabled=False"],  # or the kernels would share a file
            resources={"metadata": {"path": str(path.parent)}},
        )
        self.clients.append(client)
        try:
            asyncio.run(client.async_execute(env=environment))
            if any(errors_of(cell) for cell in notebook.cells):  # of what a cell shows: it ran, its output failed
                raise RuntimeError("an error was shown")
        except (nbclient.exceptions.CellExecutionError, RuntimeError) as error:  # the latter: the kernel died
            raise ChapterError(describe(path, client, error)) from error
        finally:
            atexit.unregister(client._cleanup_kernel)  # nbclient leaves it there if the kernel dies at its start
        write(target, nbformat.writes(normalise(notebook)) + "\n")
        return time.monotonic() - started

    def end_kernels(self):
        """Kill every kernel, with the processes it has started."""
        for client in self.clients:
            process = getattr(getattr(client.km, "provisioner", None), "process", None)
            if process is not None and process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # a kernel leads a process group of its own


def errors_of(cell):
    """The errors that a cell shows and that are not intended."""
    if "raises-exception" in cell.metadata.get("tags", []):
        return []
    return [output for output in cell.get("outputs", []) if output.output_type == "error"]


def describe(path, client, error):
    """What failed, for a reader of the build's last lines."""
    for n, cell in enumerate(client.nb.cells, 1):
        for shown in errors_of(cell):
            said = error if isinstance(error, nbclient.exceptions.CellExecutionError) else "\n".join(shown.traceback)
            return TERMINAL_COLOURS.sub("", f"{path.name}, cell {n}: {said}")
    return f"{path.name}: {error} (cells of code begun: {client.code_cells_executed})"


@contextmanager
def ended_by_signals():
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does, by an exception that passes through `finally`."""

    def end(number, frame):
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), end) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def execute(paths, folder=None, root=ROOT, workers=None, say=print):
    """Run notebooks, several at a time, and write them with their outputs.

    Those of `LAST` are run when all others are, and find these through the environment variable `BOOK_CHAPTERS`. The
    first that fails ends the run.

    Parameters
    ----------
    paths : iterable of path
        Notebooks.
    folder : path, optional
        Where they are written, under their paths relative to `root`. By default each is written to where it is, and
        `BOOK_CHAPTERS` is not set: the stored chapters are the ones to read.
    root : path
    workers : int, optional
        How many are run at a time; by default as many as there are processors.
    say : callable
        Called with a line of text, from the calling thread, whenever there is something to report.

    Raises
    ------
    ChapterError
        If a cell fails that is not tagged ``raises-exception``, or a kernel dies.
    """
    waves = in_turn([Path(path).resolve() for path in paths])
    workers = workers or os.cpu_count() or 1
    run, done, total = Run(), [], sum(map(len, waves))
    say(f"running {total} chapters, up to {workers} at a time")

    def submit(pool, path):
        environment = {key: value for key, value in os.environ.items() if key != CHAPTERS_VARIABLE}
        target = path
        if folder is not None:
            target = Path(folder).resolve() / path.relative_to(Path(root).resolve())
            target.parent.mkdir(parents=True, exist_ok=True)
            environment[CHAPTERS_VARIABLE] = str(target.parent)
        return pool.submit(run.chapter, path, target, environment)

    with ended_by_signals(), ThreadPoolExecutor(workers) as pool:
        futures = {}
        try:
            for wave in waves:
                futures = {submit(pool, path): path for path in wave}
                for future in as_completed(futures):
                    seconds = future.result()
                    done.append(futures[future].stem)
                    say(f"ran {done[-1]} in {seconds:.0f} s ({len(done)} of {total})")
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in futures):  # one may be starting its kernel just now
                run.end_kernels()
                time.sleep(0.05)
            if not isinstance(error, Exception):
                kept = "Not kept: the next build runs every chapter again." if folder else "Their outputs are stored."
                say(f"Interrupted. Run: {', '.join(done) or 'no chapter'} ({len(done)} of {total}). {kept}")
            raise


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Run chapters and store their outputs.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: every chapter of _toc.yml")
    parser.add_argument("--workers", type=int, help="chapters at a time; default: the number of processors")
    given = parser.parse_args(arguments)
    if os.environ.get("SCALE", "1") not in ("1", "1.0"):
        sys.exit(f"SCALE is {os.environ['SCALE']}: outputs are stored at the full scale only. Unset it, or say SCALE=1")
    try:
        execute(given.notebooks or chapters(), workers=given.workers)
    except ChapterError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
