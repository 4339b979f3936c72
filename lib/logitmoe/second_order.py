"""The log-likelihood of many fits, its gradient and its Hessian, and the paths along which Newton's method moves.

A fit is a vector v of coefficients: the gates of the atoms 1..k-1, each (intercept, slopes), then the experts' classes
1..K-1, atom by atom.  The gate of the last atom is fixed.  A step is straight in the masses of the atoms and in the
masses times their coefficients, see :func:`.mle`.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .data import WeightedPoints
from .gates import Gate
from .measure import MixingMeasure, Theta
from .penalty import NO_PENALTY, Ridge
from .results import FACE

__all__ = ["TINY", "Likelihood"]

#: Part of an atom's mass that one step leaves it at least.
LEAST_MASS = 0.2
EPS = np.finfo(float).eps
#: Numbers in one array of derivatives beyond which points are taken in parts, and that a part then has.
LARGE, CHUNK = 2**22, 2**16
#: Density below which a class counts as this probable, so that its logarithm is finite.
TINY = 1e-280


class Likelihood:
    """For vectors v (B, P).  Arrays over points have shape (..., B, m), so that loops work on whole planes.

    Of the starts only k, K, d and the last gates are used.
    """

    def __init__(
        self, data: WeightedPoints, start: MixingMeasure, gate: Gate, theta: Theta, penalty: Ridge = NO_PENALTY
    ) -> None:
        self.k, self.K, self.d, self.m = start.k, start.K, start.d, data.m
        x = data.points
        ones = np.ones((self.m, 1))
        gate_design, expert_design = np.hstack([ones, gate(x)]), np.hstack([ones, x])
        self.designs = gate_design, expert_design
        q = 1 + self.d
        self.q = q
        self.gates, self.free = self.k - 1, self.K - 1
        self.A = self.gates + self.k * self.free  # linear predictors; each has q coefficients
        self.P = self.A * q
        #: For each coefficient its atom, and whether it is that atom's beta0.
        own = np.repeat(np.arange(self.gates), q), np.repeat(np.arange(self.k), self.free * q)
        self.atom = np.concatenate(own)
        self.is_mass = np.zeros(self.P, dtype=bool)
        self.is_mass[: self.gates * q : q] = True
        #: Products of the designs of two linear predictors: of two gates, of a gate and an expert, of two experts.
        size = max(self.A * self.K, 3 * q * q)
        step = self.m if size * self.m <= LARGE else max(1, CHUNK // size)
        self.parts = [slice(first, first + step) for first in range(0, self.m, step)]
        self.products = self._products(self.parts[0]) if len(self.parts) == 1 else None
        gate_radii, expert_radii = theta.radii(self.d)
        self.radii = np.concatenate([np.tile(gate_radii, self.gates), np.tile(expert_radii, self.k * self.free)])
        self.last = np.concatenate([start.beta0[:, -1:], start.beta1[:, -1]], axis=-1)  # the last gates, (fits, q)
        #: The penalty's Hessian (P, P); its gradient is that times the coefficients less what the last gates add.
        self.penalised, weights = bool(penalty), np.diag(penalty.weights(self.d))
        self.ridge, split = np.zeros((self.P, self.P)), self.gates * q
        self.ridge[:split, :split] = np.kron(np.eye(self.gates) - 1.0 / self.k, weights)
        of_classes = np.kron(np.eye(self.free) - 1.0 / self.K, weights)
        self.ridge[split:, split:] = np.kron(np.eye(self.k), of_classes)
        self.offset = np.zeros((len(self.last), self.P))
        self.offset[:, :split] = np.tile(self.last @ weights / self.k, self.gates)

    def vectors(self, G: MixingMeasure) -> np.ndarray:
        """Coefficients (B, P) of a measure with batch shape (B,)."""
        gate = np.concatenate([G.beta0[..., None], G.beta1], axis=-1)[:, :-1]
        experts = np.concatenate([G.a[..., None], G.b], axis=-1)[:, :, :-1]
        B, split = len(gate), self.gates * self.q
        return np.concatenate([gate.reshape(B, split), experts.reshape(B, self.P - split)], axis=-1)

    def _products(self, part: slice) -> list[np.ndarray]:
        """Products of the designs' columns at some points, (., q * q), as listed above."""
        gate, expert = (design[part] for design in self.designs)
        both = (gate, gate), (gate, expert), (expert, expert)
        return [(u[:, :, None] * v[:, None, :]).reshape(len(u), self.q**2) for u, v in both]

    def derivatives(self, gates, experts, g, weights, totals) -> tuple[np.ndarray, np.ndarray]:
        """The gradient (B, P) and minus the Hessian (B, P, P) of the log-likelihood; weights (K, B, m), totals (B, m).

        Of many points in parts that do not need much memory, on all cores, and summed in their order.
        """

        def of(part):
            here = [array[..., part] for array in (gates, experts, g, weights, totals)]
            g_part, w = here[2], here[3]
            gradient, *rest = self.scores(*here[:3], w - here[4] * g_part, part)
            return gradient, self.hessian(*here[:2], w, *rest, part)

        if len(self.parts) == 1:
            return of(self.parts[0])
        gradient, hessian = 0.0, 0.0
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for one, two in pool.map(of, self.parts):
                gradient, hessian = gradient + one, hessian + two
        return gradient, hessian

    @property
    def order(self) -> np.ndarray:
        """Positions (P,) in v of the coordinates of :meth:`.MixingMeasure.to_vector`."""
        gate, experts = (block.reshape(-1, self.q) for block in np.split(np.arange(self.P), [self.gates * self.q]))
        return np.concatenate([part.ravel() for block in (gate, experts) for part in (block[:, 0], block[:, 1:])])

    def measure(self, v: np.ndarray, start: MixingMeasure) -> MixingMeasure:
        """The inverse of `vectors`, with the last gates of ``start``."""
        B, k, K, q = len(v), self.k, self.K, self.q
        gate = v[:, : self.gates * q].reshape(B, k - 1, q)
        experts = np.concatenate([v[:, self.gates * q :].reshape(B, k, K - 1, q), np.zeros((B, k, 1, q))], axis=2)
        beta0 = np.concatenate([gate[..., 0], start.beta0[:, -1:]], axis=1)
        beta1 = np.concatenate([gate[..., 1:], start.beta1[:, -1:]], axis=1)
        return MixingMeasure(beta0, beta1, experts[..., 0], experts[..., 1:])

    def probabilities(self, v: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gates (k, B, m), experts (k, K, B, m) and density (K, B, m) of the fits ``index`` at v."""
        B, k, K, q, m = len(v), self.k, self.K, self.q, self.m
        gate_design, expert_design = self.designs
        gates = np.empty((k, B, m))
        gates[:-1] = v[:, : self.gates * q].reshape(B, k - 1, q).transpose(1, 0, 2) @ gate_design.T
        gates[-1] = self.last[index] @ gate_design.T
        _softmax(gates, axis=0)
        experts = np.zeros((k, K, B, m))
        experts[:, :-1] = v[:, self.gates * q :].reshape(B, k, K - 1, q).transpose(1, 2, 0, 3) @ expert_design.T
        _softmax(experts, axis=1)
        g = np.einsum("kbm,ksbm->sbm", gates, experts)
        return gates, experts, np.maximum(g, TINY)

    def scores(self, gates, experts, g, residual, points=slice(None)):
        """The gradient (B, P), v and slope; residual = w - W g, (K, B, m).

        With r_is the posteriors, the derivatives v_a (A, K, B, m) of log g_s along the linear predictors are
        r_js - pi_j for the gate of atom j and r_is (1[s = t] - f_it) for class t of expert i.  Their sums over the
        classes, with residual for weights, are the gradient in function space, slope (A, B, m).
        """
        k, K, B, m = experts.shape
        J, T, A = self.gates, self.free, self.A
        posterior = gates[:, None] * experts
        posterior /= g
        v = np.empty((A, K, B, m))
        np.subtract(posterior[:J], gates[:J, None], out=v[:J])
        of_experts = v[J:].reshape(k, T, K, B, m)
        np.multiply(posterior[:, None], -experts[:, :T, None], out=of_experts)
        for t in range(T):
            of_experts[:, t, t] += posterior[:, t]
        slope = np.einsum("sbm,asbm->abm", residual, v)
        gradient = np.empty((B, A, self.q))
        for part, design in ((slice(0, J), self.designs[0]), (slice(J, A), self.designs[1])):
            gradient[:, part] = (slope[part] @ design[points]).transpose(1, 0, 2)
        return gradient.reshape(B, self.P), v, slope

    def hessian(self, gates, experts, weights, v, slope, points=slice(None)) -> np.ndarray:
        """Minus the Hessian (B, P, P), from what `scores` gives; weights = w, (K, B, m).

        With p_a for the probability (of a gate or of an expert's class) that belongs to the linear predictor a, minus
        the second derivatives of the log-likelihood in function space are sum_s w_s v_a v_c plus

        two gates, or classes of one expert    slope_a p_c + slope_c p_a - 1[a = c] slope_a
        gate of atom j, class of expert i      slope_c p_a - 1[i = j] slope_c

        and nothing for two experts.
        """
        k, K, B, m = experts.shape
        J, T, A, q = self.gates, self.free, self.A, self.q
        of_gates, mixed, of_experts = self.products or self._products(points)
        wv = weights * v
        p = np.concatenate([gates[:J], experts[:, :T].reshape(k * T, B, m)])
        hessian = np.empty((B, A, q, A, q))

        def put(a, first, block, product):
            """Blocks of a with first, first + 1, ..., and their transposes."""
            value = (block.reshape(-1, m) @ product).reshape(-1, B, q, q)
            last = first + len(value)
            hessian[:, a, :, first:last] = value.transpose(1, 2, 0, 3)
            hessian[:, first:last, :, a] = value.transpose(1, 0, 3, 2)

        for a in range(A):
            block = np.einsum("sbm,csbm->cbm", wv[a], v[a:])
            if a < J:
                own = J + a * T
                block += slope[a:] * p[a]
                block[: J - a] += slope[a] * p[a:J]
                block[own - a : own - a + T] -= slope[own : own + T]
            else:
                end = a + T - (a - J) % T  # of the classes of the same expert
                block[: end - a] += slope[a:end] * p[a] + slope[a] * p[a:end]
            block[0] -= slope[a]
            if a < J:
                put(a, a, block[: J - a], of_gates)
                put(a, J, block[J - a :], mixed)
            else:
                put(a, a, block, of_experts)
        return hessian.reshape(B, self.P, self.P)

    def pull(self, v: np.ndarray, index: np.ndarray) -> np.ndarray:
        """The gradient (B, P) of the penalty of the fits ``index`` at v."""
        return v @ self.ridge - self.offset[index]

    def minus_hessian(self, v: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Minus the Hessian (B, P, P) of the penalised log-likelihood of fits 0..B-1 at v; weights (K, B, m)."""
        state = self.probabilities(v, np.arange(len(v)))
        return self.derivatives(*state, weights, weights.sum(axis=0))[1] + self.ridge

    def growth(self, step: np.ndarray) -> np.ndarray:
        """The relative change (B, P), to first order, that a step makes in the mass of each coefficient's atom."""
        change = np.zeros((len(step), self.k))
        change[:, :-1] = step[:, self.is_mass]
        return change[:, self.atom]

    def move(self, v: np.ndarray, step: np.ndarray) -> np.ndarray:
        """The coefficients (B, P) after a step that is straight in masses and in masses times coefficients."""
        growth = self.growth(step)
        new = v + np.where(self.is_mass, np.log1p(growth), step / (1.0 + growth))
        # Those that reach the boundary of the box, but for rounding, are put there.
        return np.where(np.abs(new) >= (1.0 - FACE) * self.radii, np.copysign(self.radii, new), new)

    def bend(self, gradient: np.ndarray, hessian: np.ndarray) -> None:
        """Turn minus the Hessian, in place, into minus the Hessian along the paths of `move`."""
        for j in range(self.gates):
            mass = j * self.q
            terms = np.where(self.atom == j, gradient, 0.0)
            hessian[:, mass, :] += terms
            terms[:, mass] = 0.0
            hessian[:, :, mass] += terms

    def room(self, v: np.ndarray, step: np.ndarray) -> np.ndarray:
        """The fraction (B, P) of a step, infinite if there is none, at which `move` takes each coefficient out.

        That is out of the box or, for a mass, below ``LEAST_MASS`` times what it is.
        """
        growth = self.growth(step)
        gap = np.copysign(self.radii, step) - v  # to the face that the step points at
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            # The fraction f solves f step / (1 + f growth) = gap, and log(1 + f step) = gap for a mass.
            slope = np.where(self.is_mass, step, step - gap * growth)
            fraction = np.where(self.is_mass, np.expm1(gap), gap) / slope
        fraction[(step == 0.0) | (slope * step <= 0.0)] = np.inf
        shrinking = np.where(self.is_mass & (step < 0.0), (LEAST_MASS - 1.0) / np.minimum(step, -EPS), np.inf)
        return np.minimum(fraction, shrinking)


def _softmax(logits: np.ndarray, axis: int) -> None:
    """In place."""
    logits -= logits.max(axis=axis, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=axis, keepdims=True)
