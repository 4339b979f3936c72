"""Reference implementations for the tests: the formulas of the paper, one sample and one number at a time.

Plain Python and `math` only, and no import from the package, so that no vectorised step is shared with what is
tested. A measure is any object with the attributes beta0 (k,), beta1 (k, d), a (k, K) and b (k, K, d); a gate is a
function from one point (a list of d numbers) to a list of d numbers; classes are labelled 1..K. Not protected
against overflow: use moderate logits.
"""

import math


def identity(point):
    """The gate of the standard model."""
    return list(point)


def elementwise(function):
    """Return the gate that applies a function of one number to each coordinate."""
    return lambda point: [function(u) for u in point]


def normalize(point):
    """The gate x / ||x||."""
    norm = math.sqrt(math.fsum(u * u for u in point))
    return [u / norm for u in point]


GATES = {
    "identity": identity,
    "sigmoid": elementwise(lambda u: 1 / (1 + math.exp(-u))),
    "tanh": elementwise(math.tanh),
    "cos": elementwise(math.cos),
    "sin": elementwise(math.sin),
    "log_abs": elementwise(lambda u: math.log(abs(u))),
    "normalize": normalize,
}


def _sizes(G):
    k, K, d = (len(G.beta0), len(G.a[0]), len(G.beta1[0]))
    return k, K, d


def _dot(u, v):
    return math.fsum(float(s) * float(t) for s, t in zip(u, v, strict=True))


def _softmax(logits):
    terms = [math.exp(logit) for logit in logits]
    total = math.fsum(terms)
    return [term / total for term in terms]


def gate_probabilities(G, point, gate=identity):
    """Return the list over i of softmax_i(beta1_i' M(x) + beta0_i)."""
    k, _, _ = _sizes(G)
    image = gate(point)
    return _softmax([float(G.beta0[i]) + _dot(G.beta1[i], image) for i in range(k)])


def expert_probabilities(G, point):
    """Return the list over i of the lists over s of softmax_s(a_is + b_is' x)."""
    k, K, _ = _sizes(G)
    return [_softmax([float(G.a[i][s]) + _dot(G.b[i][s], point) for s in range(K)]) for i in range(k)]


def density(G, point, gate=identity):
    """Return the list over s of g_G(Y = s | x), equations 1 and 8."""
    k, K, _ = _sizes(G)
    weight, expert = gate_probabilities(G, point, gate), expert_probabilities(G, point)
    return [math.fsum(weight[i] * expert[i][s] for i in range(k)) for s in range(K)]


def log_likelihood(G, points, labels, gate=identity):
    """Return the log-likelihood of labelled samples, equation 2."""
    return math.fsum(
        math.log(density(G, point, gate)[int(label) - 1]) for point, label in zip(points, labels, strict=True)
    )


def responsibilities(G, points, labels, gate=identity):
    """Return the list over samples of the lists over i of P(expert i | Y = y, x), by Bayes' rule: the E-step."""
    k, _, _ = _sizes(G)
    result = []
    for point, label in zip(points, labels, strict=True):
        weight, expert = gate_probabilities(G, point, gate), expert_probabilities(G, point)
        joint = [weight[i] * expert[i][int(label) - 1] for i in range(k)]
        total = math.fsum(joint)
        result.append([term / total for term in joint])
    return result


def surrogate(G_new, G, points, labels, gate=identity):
    """Return the EM surrogate Q(G_new | G): the expected complete-data log-likelihood under the posterior at G.

    Equal to the sum over samples n and experts i of r_ni (log gate_i(x_n) + log expert_i(y_n | x_n)), with r from
    `responsibilities` at G and the logarithms at G_new. Its gate and expert parts are what an M-step maximises.
    """
    k, _, _ = _sizes(G_new)
    r = responsibilities(G, points, labels, gate)
    terms = []
    for n, (point, label) in enumerate(zip(points, labels, strict=True)):
        weight, expert = gate_probabilities(G_new, point, gate), expert_probabilities(G_new, point)
        for i in range(k):
            terms.append(r[n][i] * (math.log(weight[i]) + math.log(expert[i][int(label) - 1])))
    return math.fsum(terms)
