"""The size of a run: a chapter at a tenth of its scale takes a tenth of the time, and decides nothing."""

from __future__ import annotations

import os

from logitmoe.checks import message

__all__ = ["is_full", "run_scale"]

#: The environment variable that holds the scale for a kernel, the processes it starts, or a whole build.
VARIABLE = "SCALE"


def run_scale(value: float | None = None) -> float:
    """The scale of this run, in (0, 1]: the value if one is given, else that of the variable ``SCALE``, else 1.

    What is returned holds from then on for this kernel and the processes that it starts: below 1 no verdict is shown.
    Raises ValueError if it is not such a number.
    """
    given = os.environ.get(VARIABLE, "1") if value is None else value
    try:
        scale = float(given)
    except (TypeError, ValueError):
        scale = 0.0
    if not 0.0 < scale <= 1.0:
        raise ValueError(message(VARIABLE, "a number in (0, 1]", f"{given!r}", "take 1, or 0.1 for a quick look"))
    os.environ[VARIABLE] = repr(scale)
    return scale


def is_full() -> bool:
    """Whether the run is at its full scale, so that its numbers are those of the book."""
    return run_scale() == 1.0
