"""Run the chapters as processors of several kinds do, and compare what they print with what is stored.

A sum of floating-point numbers depends on the order in which a processor adds them, and so do the last digits of what
is computed from it.  OpenBLAS and NumPy choose their order by the processor; both can be told to take that of an older
one.  A digit that is not the same for all of them is not to be printed.

    python tools/kernels.py ARGUMENTS OF PYTEST
"""

from __future__ import annotations

import os
import subprocess
import sys

#: What NumPy is not to use beyond the first x86-64 processors, in the words of its versions before and since 2.4.
NEW = "AVX2 FMA3 AVX512F AVX512_SKX X86_V3 X86_V4 AVX512_ICL AVX512_SPR"
#: Names of OpenBLAS for kinds of processors, and what NumPy may not use then.
KERNELS = {
    "Haswell": "AVX512F AVX512_SKX X86_V4 AVX512_ICL AVX512_SPR",
    "Nehalem": NEW,
    "SkylakeX": "",
    "Prescott": NEW,
}
#: What OpenBLAS calls a kind, where this is another name: for 64 bits these two are one.
NAMES = {"Prescott": "Katmai"}
#: A product that OpenBLAS computes, as a sum over columns would not be.
PROBE = "import numpy as np; a = np.ones((64, 64)); assert (a @ a == 64.0).all()"


def environment(kernel: str) -> dict[str, str]:
    """The environment in which libraries compute as on a processor of that kind, and say so where they can."""
    return {**os.environ, "OPENBLAS_CORETYPE": kernel, "NPY_DISABLE_CPU_FEATURES": KERNELS[kernel]}


def available(kernel: str) -> bool:
    """Whether this processor has the instructions of that kind; a RuntimeError if OpenBLAS took another one."""
    verbose = {**environment(kernel), "OPENBLAS_VERBOSE": "2"}
    done = subprocess.run([sys.executable, "-c", PROBE], env=verbose, capture_output=True, text=True, check=False)
    name = NAMES.get(kernel, kernel)
    if done.returncode == 0 and f"Core: {name}" not in done.stderr + done.stdout:
        raise RuntimeError(f"OpenBLAS did not take the kernel {kernel}: {done.stderr}")
    return done.returncode == 0


def main(arguments: list[str]) -> int:
    outcomes = {}
    for kernel in KERNELS:
        if available(kernel):
            print(f"--- {kernel}", flush=True)
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
            outcomes[kernel] = subprocess.run(command, env=environment(kernel), check=False).returncode
        else:
            print(f"--- {kernel}: this processor does not have its instructions", flush=True)
    for kernel in KERNELS:
        words = {None: "not run", 0: "the digits are those stored"}.get(outcomes.get(kernel), "DIGITS DIFFER")
        print(f"{kernel:10}{words}")
    return int(any(outcomes.values()) or len(outcomes) < 2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
