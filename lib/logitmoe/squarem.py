"""SQUAREM: EM with every third map taken from a point that is extrapolated from the two before.

It knows nothing of mixtures: only parameter vectors, their log-likelihoods, and a map that raises these [1]_.

References
----------
.. [1] R. Varadhan and C. Roland, "Simple and globally convergent methods for accelerating the convergence of any EM
   algorithm", Scandinavian Journal of Statistics 35 (2008), 335-353.
"""

from __future__ import annotations

import numpy as np

__all__ = ["Squarem"]

#: Factor by which the limit on the step length changes, and how far: beyond it, differences are rounding.
FACTOR, MAX_LENGTH = 4.0, 1e10


class Squarem:
    r"""The cycles of many fits, each in a phase of its own, so that fits may join and leave at any time.

    Two maps give the differences :math:`r = \theta_1 - \theta_0` and :math:`v = \theta_2 - \theta_1 - r`; the third map
    starts at :math:`\theta_0 - 2 \alpha r + \alpha^2 v`, clipped to the box, with :math:`\alpha = -\|r\| / \|v\|`
    (scheme S3).  Its outcome is kept if the log-likelihood is not below that at :math:`\theta_2`, otherwise
    :math:`\theta_2` is.  The size of :math:`\alpha` is at least 1, and at most a limit: 1 at first, four times as much
    whenever a step of that length was kept, and a quarter of the length that was rejected.

    A cycle takes three maps, a rejected one included, and one E-step more.  The stopping rule compares the end of a
    cycle with its start, and for ``"parameters"`` also the outcome of its first map.  Rounding aside, that is at least
    the change of this first map: a fit does not stop where plain EM would go on.

    Parameters
    ----------
    kernel
        With ``em_map(fits)``, the next fits, which of them are stuck, and whose M-step failed; ``at(vectors, fits)``,
        fits to the same data at other parameters; and ``radii`` of the box, (P,).  Fits are indexed, and have
        ``vectors`` (B, P) and ``objective`` (B,), the log-likelihood less the penalty.
    stopping : StoppingRule
    count : int
        Number of fits.
    """

    def __init__(self, kernel, stopping, count: int) -> None:
        self.kernel, self.stopping = kernel, stopping
        self.phase = np.zeros(count, dtype=int)
        self.origin = np.empty((count, kernel.radii.size))  # where the cycle began
        self.first = np.empty_like(self.origin)  # after its first map
        self.before = np.empty(count)  # log-likelihood at the origin
        self.limit = np.ones(count)  # on the step length
        self.failed = np.zeros(count, dtype=bool)  # an M-step of the cycle

    def __call__(self, active: np.ndarray, fits):
        """One map of the fits ``active``: the next fits, which are stuck, which meet the rule, whose M-step failed."""
        phase, vectors = self.phase[active], fits.vectors
        begin, second, third = (np.flatnonzero(phase == i) for i in range(3))
        self.origin[active[begin]], self.before[active[begin]] = vectors[begin], fits.objective[begin]
        self.first[active[second]] = vectors[second]
        self.phase[active] = (phase + 1) % 3
        met, base = np.zeros(len(active), dtype=bool), fits
        if third.size:
            far, length = self._extrapolated(active[third], vectors[third])
            part = self.kernel.at(far, fits[third])
            if third.size == active.size:
                base = part
            else:
                base = fits[np.arange(active.size)]
                base[third] = part
        new, stuck, failed = self.kernel.em_map(base)
        failed |= self.failed[active] & (phase > 0)
        self.failed[active] = failed
        if third.size:
            stuck[third] = False
            kept = new.objective[third] >= fits.objective[third]
            if not kept.all():
                new[third[~kept]] = fits[third[~kept]]
            self._adapt(active[third], length, kept)
            cycle, origin = active[third], self.origin[active[third]]
            step = np.maximum(np.abs(new.vectors[third] - origin), np.abs(self.first[cycle] - origin)).max(axis=1)
            met[third] = self.stopping.met(self.before[cycle], new.objective[third], step)
        return new, stuck, met, failed

    def _extrapolated(self, index: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points in the box, and step lengths, for fits whose last two maps led to ``first`` and to ``vectors``."""
        origin, first = self.origin[index], self.first[index]
        r = first - origin
        v = (vectors - first) - r
        size, bend = np.linalg.norm(r, axis=1), np.linalg.norm(v, axis=1)
        length = np.ones_like(size)  # minus alpha; one leads to ``vectors``
        np.divide(size, bend, out=length, where=bend > 0.0)
        length = np.clip(length, 1.0, self.limit[index])
        far = origin + 2.0 * length[:, None] * r + length[:, None] ** 2 * v
        return np.clip(far, -self.kernel.radii, self.kernel.radii), length

    def _adapt(self, index: np.ndarray, length: np.ndarray, kept: np.ndarray) -> None:
        """Allow longer steps where the longest so far was kept, and shorter ones only where one was rejected."""
        limit = self.limit[index]
        longer = np.where(length >= limit, np.minimum(FACTOR * limit, MAX_LENGTH), limit)
        self.limit[index] = np.where(kept, longer, np.maximum(length / FACTOR, 1.0))
