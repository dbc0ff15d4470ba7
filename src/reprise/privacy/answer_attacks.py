"""Attacks that use nothing but answers: which item a user has added to a history, and what the item vectors are.

Both read an answer as evidence about items: the scores, or the ranks if the answer has no scores. They are simple, so what
they find is a lower bound of what answers reveal.

Shape letters: I items, C candidates, Q questions, D width of the vectors.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reprise.arrays import AnyArray


def evidence(answer: Sequence[Mapping[str, Any]], ids: Mapping[Any, int]) -> AnyArray:
    """Return the score of each item in one answer, or minus the logarithm of its rank in an answer without scores, [I].

    An item that is not in the answer has the lowest of these numbers.

    Args:
        answer: Items of the answer with `item_id`, `score` (or None) and `rank`.
        ids: Position of each item id.
    """
    numbers = [-np.log(one["rank"]) if one["score"] is None else one["score"] for one in answer]
    found_I = np.full(len(ids), min(numbers, default=0.0))
    found_I[[ids[one["item_id"]] for one in answer]] = numbers
    return found_I


def added_item_scores(before_I: AnyArray, after_I: AnyArray, single_CI: AnyArray) -> AnyArray:
    """Return how likely each candidate is the item that a user added to the history between two answers, [C].

    The change between the answers is compared with the answers to a history of each candidate alone, which an attacker asks
    for with events of his own.

    Args:
        before_I: Evidence of the answer before the event.
        after_I: Evidence of the answer after the event.
        single_CI: Evidence of the answers to histories of one item.
    """
    change_I = after_I - before_I
    typical_CI = single_CI - single_CI.mean(0)
    norm_C = np.linalg.norm(typical_CI, axis=1)
    scores: AnyArray = typical_CI @ (change_I - change_I.mean()) / np.maximum(norm_C, 1e-12)
    return scores


def vector_r2(evidence_QI: AnyArray, vector_ID: AnyArray) -> float:
    """Return the share of the variance of item vectors that answers to Q questions explain.

    Scores are inner products, so the matrix of all scores has the rank of the vectors: its first D right singular vectors
    are the item vectors up to a linear map. By chance the share is about D / I.

    Args:
        evidence_QI: Evidence of the answers.
        vector_ID: The item vectors.
    """
    centred_QI = evidence_QI - evidence_QI.mean(1, keepdims=True)
    _, _, directions_QI = np.linalg.svd(centred_QI, full_matrices=False)
    found_DI = directions_QI[: vector_ID.shape[1]]
    centred_ID = vector_ID - vector_ID.mean(0)
    return float(np.sum((found_DI @ centred_ID) ** 2) / np.sum(centred_ID**2))
