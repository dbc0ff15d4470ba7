"""Release of item counts and item similarities with Gaussian noise, and item vectors made from them.

One user adds a vector of norm at most 1 to the counts and a matrix of Frobenius norm at most 1 to the similarities. So both
have the sensitivity 1 for one user more or less. Noise is drawn for all items and all pairs, seen or not. What is computed
from the noisy numbers (the choice of the items, the weights, the vectors) spends nothing.

The similarities are a Gram matrix of items that occur near each other, and its eigenvectors are the item vectors, as in
principal component analysis under differential privacy (Dwork et al. 2014, "Analyze Gauss"). Eigenvalues are shrunk
towards the edge of the spectrum of the noise (Benaych-Georges and Nadakuditi 2011; Gavish and Donoho 2017).

Shape letters: U users, E events, I items of the catalogue, K kept items, P pairs of kept items, D width.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from reprise.arrays import Float64Array, Int64Array
from reprise.training.private.user_events import UserEvents

COUNTS_SHARE = 0.2
"""Share of the inverse variance of the noise that goes to the counts; the rest goes to the similarities."""
SMALLEST_COUNT = 1.0
"""Lower bound of a noisy count."""
WINDOW = 20
"""Largest distance of two events that count as near, in events of kept items."""
FADE = 0.5
"""A pair at the distance k has the weight k^-FADE."""
POPULARITY_POWER = 0.5
"""An item has the weight count^-POPULARITY_POWER, so that popular items do not fill the matrix."""
SPECTRUM_POWER = 0.375
"""A direction with the share s of the largest eigenvalue is scaled by s^SPECTRUM_POWER."""
INPUT_POWER = 0.5
"""An input vector is scaled by the weight of its item to this power."""
USERS_PER_BLOCK = 1 << 12
"""Number of users whose pairs are counted together."""
Normal = Callable[[str, tuple[int, ...]], Float64Array]
"""Function that returns secret standard normal noise for the name of a query and a shape."""


class ItemRelease(NamedTuple):
    """Noisy numbers about items. Everything here may be published."""

    count_I: Float64Array
    """Noisy count of each item, [I]; a user counts 1 / sqrt(n) for each of its n distinct items."""
    kept_K: Int64Array
    """Positions in `count_I` of the kept items, largest count first, [K]."""
    input_KD: Float64Array
    """Input vectors of the kept items, with a mean square of 1."""
    output_KD: Float64Array
    """Output vectors of the kept items, with a mean square of 1."""


def release_items(
    events: UserEvents, items: int, keep: int, size: int, sigma: float, normal: Normal
) -> ItemRelease:
    """Release counts and similarities, and return item vectors made from them.

    Args:
        events: Events of the users.
        items: Number of items of the catalogue, I.
        keep: Maximum number of items that get vectors.
        size: Width of a vector, D.
        sigma: Noise multiplier of both queries together.
        normal: Source of noise.
    """
    count_I = counts_of(events, items) + sigma * COUNTS_SHARE**-0.5 * normal("release.counts", (items,))
    kept_K = np.argsort(-count_I, kind="stable")[: min(keep, items)]
    weight_K = np.maximum(count_I[kept_K], SMALLEST_COUNT) ** -POPULARITY_POWER
    place_I = np.full(items + 1, -1)
    place_I[kept_K + 1] = np.arange(len(kept_K))
    place_E = place_I[events.item_E]
    kept = events.select(place_E >= 0, place_E)
    pair_sigma = sigma * (1 - COUNTS_SHARE) ** -0.5
    gram_KK = similarities_of(kept, weight_K) + pair_sigma * _symmetric(normal, len(kept_K))
    vector_KD = item_vectors(gram_KK, pair_sigma, size)
    return ItemRelease(
        count_I, kept_K, _unit_mean(vector_KD * weight_K[:, None] ** INPUT_POWER), _unit_mean(vector_KD)
    )


def counts_of(events: UserEvents, items: int) -> Float64Array:
    """Count the users of each item, [I]. A user with n distinct items counts 1 / sqrt(n) for each: its norm is 1."""
    pair_N = np.unique(events.user_E * (items + 1) + events.item_E)
    user_N, item_N = np.divmod(pair_N, items + 1)
    share_N = np.bincount(user_N, minlength=len(events))[user_N] ** -0.5
    return np.bincount(item_N - 1, weights=share_N, minlength=items).astype(np.float64)


def similarities_of(events: UserEvents, weight_K: Float64Array) -> Float64Array:
    """Return the sum over users of their weighted matrices of near items, each of Frobenius norm 1, symmetric [K, K].

    Args:
        events: Events of the users, with positions in `weight_K` as items.
        weight_K: Weight of each item.
    """
    items = len(weight_K)
    upper_P = np.zeros(items * items)
    for first in range(0, len(events), USERS_PER_BLOCK):
        start = events.start[first : first + USERS_PER_BLOCK + 1]
        count_U = np.diff(start)
        user_E = np.repeat(np.arange(len(count_U)), count_U)
        user_N, pair_N, value_N = _pairs(user_E, events.item_E[start[0] : start[-1]], weight_K)
        row_N, column_N = np.divmod(pair_N, items)
        # an entry off the diagonal occurs twice in the matrix
        square_N = value_N**2 * np.where(row_N == column_N, 1.0, 2.0)
        norm_U = np.sqrt(np.bincount(user_N, weights=square_N, minlength=len(count_U)))
        upper_P += np.bincount(pair_N, weights=value_N / norm_U[user_N], minlength=items * items)
    upper_KK = upper_P.reshape(items, items)
    gram_KK: Float64Array = upper_KK + upper_KK.T - np.diag(np.diag(upper_KK))
    return gram_KK


def _pairs(
    user_E: Int64Array, item_E: Int64Array, weight_K: Float64Array
) -> tuple[Int64Array, Int64Array, Float64Array]:
    """Return the user, the pair (row K + column, row <= column) and the weight of each entry of the matrices of users."""
    items = len(weight_K)
    users, lower, upper, weights = [], [], [], []
    for distance in range(1, WINDOW + 1):
        near = (user_E[distance:] == user_E[:-distance]) & (item_E[distance:] != item_E[:-distance])
        before, after = item_E[:-distance][near], item_E[distance:][near]
        users.append(user_E[distance:][near])
        lower.append(np.minimum(before, after))
        upper.append(np.maximum(before, after))
        weights.append(np.full(len(before), float(distance) ** -FADE))
    own = np.unique(user_E * items + item_E)  # on the diagonal each item of a user once
    users.append(own // items)
    lower.append(own % items)
    upper.append(own % items)
    weights.append(np.ones(len(own)))
    user_N, row_N, column_N = (np.concatenate(part) for part in (users, lower, upper))
    value_N = np.concatenate(weights) * weight_K[row_N] * weight_K[column_N]
    key_N, inverse_N = np.unique((user_N * items + row_N) * items + column_N, return_inverse=True)
    user_P, pair_P = np.divmod(key_N, items * items)
    value_P: Float64Array = np.bincount(inverse_N, weights=value_N, minlength=len(key_N)).astype(np.float64)
    return user_P, pair_P, value_P


def item_vectors(gram_KK: Float64Array, sigma: float, size: int) -> Float64Array:
    """Return vectors of items from a noisy symmetric matrix, [K, D]: scaled eigenvectors, with zeros if K < D.

    Args:
        gram_KK: The matrix; `sigma` is the standard deviation of the noise on the diagonal, and `sigma` / sqrt(2) off it.
        sigma: See `gram_KK`.
        size: Width of a vector, D.
    """
    value_K, vector_KK = np.linalg.eigh(gram_KK)
    largest = np.argsort(-value_K)[:size]
    value_D = value_K[largest]
    # the spectrum of the noise ends at 2 s sqrt(K), with s the standard deviation off the diagonal; an eigenvalue l
    # above it is shrunk to sqrt(l^2 - edge^2), which is the best estimate in the Frobenius norm
    edge = 2 * sigma * np.sqrt(len(gram_KK) / 2)
    shrunk_D = np.sqrt(np.maximum(value_D**2 - edge**2, 0.0)) * (value_D > 0)
    scale_D = (shrunk_D / max(shrunk_D.max(initial=0.0), 1e-12)) ** SPECTRUM_POWER
    # the sign of an eigenvector is arbitrary: the largest entry is positive
    column_KD = vector_KK[:, largest]
    sign_D = np.sign(column_KD[np.abs(column_KD).argmax(axis=0), np.arange(len(largest))])
    vector_KD: Float64Array = np.zeros((len(gram_KK), size))
    vector_KD[:, : len(largest)] = column_KD * sign_D * scale_D
    return vector_KD


def _symmetric(normal: Normal, items: int) -> Float64Array:
    """Return symmetric noise [K, K] whose entries off the diagonal have half the variance: they occur twice."""
    noise_KK = np.triu(normal("release.similarities", (items, items)))
    diagonal_K = np.diag(noise_KK)
    symmetric_KK: Float64Array = (noise_KK + noise_KK.T) * 0.5**0.5 - np.diag(diagonal_K * (2**0.5 - 1))
    return symmetric_KK


def _unit_mean(vector_KD: Float64Array) -> Float64Array:
    """Scale vectors to a mean square norm of 1; vectors that are all zero stay zero."""
    mean_square = float(np.square(vector_KD).sum(axis=1).mean())
    scaled_KD: Float64Array = vector_KD / max(mean_square, 1e-24) ** 0.5
    return scaled_KD
