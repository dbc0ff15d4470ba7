"""Our metrics equal those of ranx (Bassani, 2022) on the same rankings."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ranx import Qrels, Run
from ranx import evaluate as ranx_evaluate

from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.metrics import all_metrics, resolve_ties
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.ranks import score_rows
from reprise.evaluation.ranking.targets import evaluation_mode, score_batches
from reprise.testing.worlds import world

THEIRS = {"recall": "recall", "hit": "hit_rate", "mrr": "mrr", "ndcg": "ndcg"}
AT = (1, 3, 10)
# numba, which ranx uses, warns about a cast in its own dictionaries
pytestmark = pytest.mark.filterwarnings("ignore:unsafe cast from uint64 to int64")
few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def ranks(score_NI: np.ndarray, target_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of items that score higher than the target, and of others that score the same."""
    own_N1 = np.take_along_axis(score_NI, target_N[:, None], 1)
    return (score_NI > own_N1).sum(1), (score_NI == own_N1).sum(1) - 1


def theirs(score_NI: np.ndarray, target_N: np.ndarray) -> dict[str, list[float]]:
    """Return the values of every target by ranx; the scores must have no ties."""
    qrels = Qrels({f"q{row}": {f"d{target}": 1} for row, target in enumerate(target_N)})
    run = Run(
        {
            f"q{row}": {f"d{item}": float(score) for item, score in enumerate(scores)}
            for row, scores in enumerate(score_NI)
        }
    )
    wanted = [f"{name}@{k}" for name in THEIRS.values() for k in AT]
    found = ranx_evaluate(qrels, run, wanted, return_mean=False)
    return {f"{name}@{k}": found[f"{THEIRS[name]}@{k}"] for name in THEIRS for k in AT}


def same(mine: dict[str, np.ndarray], other: dict[str, list[float]]) -> None:
    for name, values in other.items():
        # ranx sorts its queries by name, and `q0`, `q1`, ... are in order up to ten targets
        assert mine[name] == pytest.approx(np.asarray(values)), name


cases = st.tuples(st.integers(1, 9), st.integers(10, 40), st.integers(0, 2**31))


@few
@given(cases)
def test_metrics_without_ties_equal_those_of_ranx(case: tuple[int, int, int]) -> None:
    targets, items, seed = case
    generator = np.random.default_rng(seed)
    score_NI = np.stack([generator.permutation(items) for _ in range(targets)]).astype(float)
    target_N = generator.integers(items, size=targets)
    same(all_metrics(*ranks(score_NI, target_N), AT), theirs(score_NI, target_N))


@few
@given(cases, st.sampled_from([("best", 0.5), ("worst", -0.5)]))
def test_best_and_worst_ties_equal_those_of_ranx(case: tuple[int, int, int], rule: tuple[str, float]) -> None:
    """The target's score is moved by less than the distance of two scores, so that ranx sees no tie."""
    (targets, items, seed), (ties, moved) = case, rule
    generator = np.random.default_rng(seed)
    score_NI = generator.integers(5, size=(targets, items)).astype(float)
    target_N = generator.integers(items, size=targets)
    greater_N, equal_N = resolve_ties(*ranks(score_NI, target_N), ties)
    score_NI[np.arange(targets), target_N] += moved
    # the order of the other items among themselves does not matter
    score_NI += generator.permutation(items) * 1e-4
    same(all_metrics(greater_N, equal_N, AT), theirs(score_NI, target_N))


@few
@given(cases)
def test_average_ties_equal_the_mean_over_all_orders(case: tuple[int, int, int]) -> None:
    """The target is put at each place among its equals in turn and measured by ranx."""
    _, items, seed = case
    generator = np.random.default_rng(seed)
    score_1I = generator.integers(4, size=(1, items)).astype(float)
    target_1 = generator.integers(items, size=1)
    greater_1, equal_1 = ranks(score_1I, target_1)
    others = np.flatnonzero((score_1I[0] == score_1I[0, target_1[0]]) & (np.arange(items) != target_1[0]))
    found = []
    for above in range(int(equal_1[0]) + 1):
        one = score_1I + np.arange(items) * 1e-4
        one[0, others] = score_1I[0, others] + np.where(np.arange(len(others)) < above, 0.4, -0.4)
        one[0, others] += np.arange(len(others)) * 1e-4
        one[0, target_1[0]] = score_1I[0, target_1[0]]
        found.append(theirs(one, target_1))
    mine = all_metrics(greater_1, equal_1, AT)
    for name in mine:
        assert mine[name][0] == pytest.approx(np.mean([it[name][0] for it in found])), name


def test_a_report_equals_ranx_on_the_same_scores(fading) -> None:
    """The scores are those of a network with vectors."""
    generator = np.random.default_rng(3)
    dataset = world([[f"i{item}" for item in generator.integers(15, size=8)] for _ in range(30)], test=2)
    model = fading(dataset.items.warm)
    score, target = [], []
    with evaluation_mode(model):
        for batch, scores in score_batches(model, dataset, EvaluationProtocol()):
            target_N = batch.target_items()
            score_rows(scores, None, lambda s_CI: score.append(s_CI.double().numpy()))
            target.append(target_N.numpy() - 1)
    found = theirs(np.concatenate(score), np.concatenate(target))
    report = evaluate(model, dataset, at=AT)
    for name, values in found.items():
        assert report.metrics[name].value == pytest.approx(np.mean(values)), name
