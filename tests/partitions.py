"""Matrices and partitions that several tests of communities use."""

import numpy as np


def signed(n, seed, density=1.0):
    """Symmetric Gaussian weights with a zero diagonal."""
    rng = np.random.default_rng(seed)
    matrix = np.triu(rng.standard_normal((n, n)) * (rng.random((n, n)) < density), 1)
    return matrix + matrix.T


def planted(sizes, seed, *, inside=0.8, outside=-0.1, noise=0.2):
    """Planted communities in noise, and their labels."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.where(labels[:, None] == labels, inside, outside) + noise * signed(len(labels), seed), labels


def set_partitions(n):
    """All partitions of n units as labels (restricted growth strings)."""
    labels = [0] * n

    def grow(i, used):
        if i == n:
            yield tuple(labels)
            return
        for label in range(used + 1):
            labels[i] = label
            yield from grow(i + 1, max(used, label + 1))

    yield from grow(1, 1)


def written_out(matrix, labels, objective, gamma=1.0):
    """Q as the double sum of the papers, term by term: slow, and nothing to get wrong."""
    w = np.array(matrix, dtype=float)
    np.fill_diagonal(w, 0)
    positive, negative = np.maximum(w, 0), np.maximum(-w, 0)
    plus, minus = positive.sum(), negative.sum()
    total = 0.0
    for i in range(len(w)):
        for j in range(len(w)):
            if labels[i] != labels[j]:
                continue
            above = positive[i, j] - (gamma * positive[i].sum() * positive[j].sum() / plus if plus else 0)
            below = negative[i, j] - (gamma * negative[i].sum() * negative[j].sum() / minus if minus else 0)
            if not isinstance(objective, str):
                total += (w[i, j] - gamma * objective[i, j]) / (plus + minus)
            elif objective == "negative_asym":
                total += (above / plus if plus else 0) - below / (plus + minus)
            elif objective == "negative_sym":
                total += (above - below) / (plus + minus)
            elif objective == "modularity":
                total += above / plus
            else:
                total += (w[i, j] - gamma) / (plus + minus) if i != j else 0
    return total
