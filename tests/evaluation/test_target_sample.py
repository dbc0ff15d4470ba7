"""Evaluations of a sample of the targets: unbiased, with honest intervals, and the same sample for all models.

Shape letters: N targets, S sequences.
"""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import reprise as rp
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError, DataError
from reprise.evaluation.evaluator import evaluate_ranks
from reprise.evaluation.list_metrics import ListMetrics
from reprise.evaluation.metrics import RECALL
from reprise.evaluation.options import QUICK, EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking import ranks as ranks_module
from reprise.evaluation.ranking import targets as targets_module
from reprise.evaluation.ranking.ranks import rank
from reprise.evaluation.ranking.scores import GivenScores
from reprise.evaluation.ranking.targets import device_of, rank_targets
from reprise.evaluation.report import SequenceSums
from reprise.evaluation.stats.bootstrap import Bootstrap
from reprise.evaluation.stats.target_sample import TargetSample
from reprise.models.baselines.item_knn import ItemKNN
from reprise.models.baselines.markov import Markov
from reprise.models.baselines.popularity import Popularity

OPTIONS = EvaluationOptions(leaks=False, progress=False, resamples=200)


def sampled(targets: int, seed: int = 0) -> EvaluationProtocol:
    return EvaluationProtocol(at=(2, 5), sample=TargetSample(targets, seed))


@pytest.mark.parametrize("steps", [1, 4, 256])
@pytest.mark.parametrize("model", ["network", "markov", "item-knn"])
def test_a_sampled_target_has_the_rank_that_it_has_among_all_targets(hard, fading, model, steps):
    """Batches are cut within and between histories, and contain other targets than those of the whole evaluation."""
    scorer = {
        "network": fading(hard.items.warm),
        "markov": Markov().fit(hard),
        "item-knn": ItemKNN().fit(hard),
    }[model]
    options = replace(QUICK, events_per_batch=8, max_steps=steps)
    every = rank_targets(scorer, hard, EvaluationProtocol(at=(2, 5)), options)
    some = rank_targets(scorer, hard, sampled(9), options)
    place_N = np.searchsorted(every.position_N, some.position_N)
    assert len(np.unique(place_N)) == 9 < len(every.position_N)
    for column, whole in zip(some, every, strict=True):
        assert column.tolist() == whole[place_N].tolist()


def test_every_target_is_equally_likely_to_be_in_the_sample(hard):
    """Over 3,000 seeds the mean of any metric over the sample is then its mean over all targets."""
    total = EvaluationProtocol().count_all_targets(hard)
    times_N = np.zeros(total)
    for seed in range(3000):
        times_N[TargetSample(9, seed).draw(total)] += 1
    share = 9 / total
    # a binomial count has the standard deviation sqrt(n p (1 - p)); 5 of them are exceeded once in a million
    assert np.abs(times_N - 3000 * share).max() < 5 * math.sqrt(3000 * share * (1 - share))


def test_a_metric_of_samples_is_unbiased(hard, fading):
    """The mean over 2,000 seeds is the metric of all targets up to 4 standard errors, and that of a slice nearly so."""
    ranks = rank_targets(fading(hard.items.warm), hard, EvaluationProtocol(), QUICK)
    value_N = RECALL.at(ranks.greater_N, ranks.equal_N, 5)
    cold_N = hard.item[ranks.position_N] > hard.items.warm
    drawn = [
        np.searchsorted(ranks.position_N, sampled(9, seed).sampled_positions(hard)) for seed in range(2000)
    ]
    recall = np.array([value_N[place_N].mean() for place_N in drawn])
    # of a simple random sample of n of N targets: sqrt((1 - n / N) / n) times the standard deviation of the values
    error = math.sqrt((1 - 9 / len(value_N)) / 9) * value_N.std(ddof=1)
    assert recall.std() == pytest.approx(error, rel=0.1)
    assert abs(recall.mean() - value_N.mean()) < 4 * error / math.sqrt(len(drawn))
    warm = [value_N[place_N][~cold_N[place_N]].mean() for place_N in drawn]
    assert np.mean(warm) == pytest.approx(value_N[~cold_N].mean(), rel=0.02)


def test_intervals_of_samples_hold_the_true_value_as_often_as_they_say():
    """Users differ in their hit rate, and those with many targets have a lower one. 95 % of the intervals hold its mean."""
    generator, inside, repetitions = np.random.default_rng(7), 0, 400
    for repetition in range(repetitions):
        targets_S = generator.geometric(0.2, size=300)
        rate_S = generator.beta(2, 2 + 0.2 * targets_S)
        row_N = np.repeat(np.arange(300), targets_S)
        hit_N = (generator.random(len(row_N)) < rate_S[row_N]).astype(float)
        drawn_N = TargetSample(500, repetition).draw(len(row_N))
        sums = SequenceSums.of(row_N[drawn_N], ("recall@5",), hit_N[drawn_N, None])
        [interval] = Bootstrap(resamples=200, seed=repetition).intervals(sums.sum_SM, sums.targets_S)
        inside += interval.low <= TRUE_RATE <= interval.high
    assert 0.91 < inside / repetitions < 0.98


def _true_rate() -> float:
    """Return E(targets * rate) / E(targets) of the test above: geometric numbers of targets, and the mean of a beta."""
    targets = np.arange(1, 500)
    share = 0.2 * 0.8 ** (targets - 1)
    return float((share * targets * 2 / (4 + 0.2 * targets)).sum() / (share * targets).sum())


TRUE_RATE = _true_rate()


@pytest.mark.parametrize("targets", [10**6, None])
def test_a_sample_of_at_least_all_targets_is_the_whole_evaluation(hard, fading, targets):
    model, whole = fading(hard.items.warm), EvaluationProtocol(at=(2, 5))
    targets = targets or whole.count_all_targets(hard)
    first = rp.evaluate(model, hard, protocol=whole, options=OPTIONS)
    second = rp.evaluate(model, hard, protocol=sampled(targets), options=OPTIONS)
    assert second.data == first.data and second.data.sampled_from is None
    one, other = first.to_dict(), second.to_dict()
    hashes = one["protocol"].pop("hash"), other["protocol"].pop("hash")
    assert hashes[0] != hashes[1]
    assert (one["protocol"].pop("sample"), other["protocol"].pop("sample")) == (
        None,
        {"targets": targets, "seed": 0},
    )
    assert one == other
    assert str(rp.compare(first, second)).startswith("metric")


def test_models_are_compared_on_the_same_sample(hard, fading):
    """The paired difference is that of the values of the same targets."""
    protocol = sampled(9)
    first, ranks = evaluate_ranks(fading(hard.items.warm), hard, protocol, OPTIONS)
    second, other = evaluate_ranks(Popularity().fit(hard), hard, protocol, OPTIONS)
    assert ranks.position_N.tolist() == other.position_N.tolist() == protocol.sampled_positions(hard).tolist()
    gap_N = RECALL.at(ranks.greater_N, ranks.equal_N, 5) - RECALL.at(other.greater_N, other.equal_N, 5)
    assert rp.compare(first, second).differences[0]["recall@5"].value == pytest.approx(gap_N.mean())


@pytest.mark.parametrize(
    ("others", "value"),
    [
        (EvaluationProtocol(at=(2, 5)), "None"),
        (sampled(9, seed=1), "'seed': 1"),
        (sampled(8), "'targets': 8"),
    ],
)
def test_reports_of_other_samples_are_not_compared(hard, others, value):
    model = Popularity().fit(hard)
    first, second = (rp.evaluate(model, hard, protocol=it, options=OPTIONS) for it in (sampled(9), others))
    with pytest.raises(
        DataError, match=r"cannot be compared: sample is \{'targets': 9, 'seed': 0\} for one and"
    ) as error:
        rp.compare(first, second)
    assert value in str(error.value)


def test_a_report_says_what_was_sampled(hard, fading):
    report = rp.evaluate(fading(hard.items.warm), hard, protocol=sampled(9, seed=4), options=OPTIONS)
    total = EvaluationProtocol().count_all_targets(hard)
    assert report.targets == 9 and report.data.sampled_from == total
    text = str(report)
    assert (
        f"9 of {total} targets, sampled with seed 4, in {report.data.sequences} sequences of the test part"
        in text
    )
    assert (
        f"an estimate of its value over all {total} targets, and its interval includes the error of the sample"
        in text
    )
    assert "coverage and gini are of the lists of the sample only" in text
    assert "fewer than 100 sampled targets, too few for a reliable interval: warm (" in text
    found = json.loads(json.dumps(report.to_dict()))["protocol"]
    assert (found["targets"], found["sampled_from"], found["sample"]) == (9, total, {"targets": 9, "seed": 4})


def test_lists_and_calibration_are_measured_on_sampled_targets_only(hard, fading):
    model, protocol = fading(hard.items.warm), sampled(9)
    drawn = set(protocol.sampled_positions(hard).tolist())
    assert set(protocol.sample_targets(hard, 5, seed=0).tolist()) < drawn
    lists = ListMetrics(hard, protocol, 0, device_of(model))
    rank_targets(model, hard, protocol, QUICK, top_k=[lists])
    assert {position for part in lists._statistics for position in part.position_N.tolist()} == drawn


def test_the_protocol_without_a_sample_has_the_hash_of_earlier_versions():
    assert EvaluationProtocol().hash == EvaluationProtocol(sample=None).hash == "c2c60f3f888d"
    assert "sample" not in EvaluationProtocol().to_dict()
    assert sampled(9).hash != sampled(9, seed=1).hash != EvaluationProtocol(at=(2, 5)).hash


@pytest.mark.parametrize("targets", [0, -5])
def test_samples_of_no_target_are_errors(targets):
    with pytest.raises(ConfigError, match=f"targets must be at least 1, got {targets}"):
        TargetSample(targets)


def test_a_sample_must_be_a_target_sample():
    with pytest.raises(ConfigError, match=r"sample must be .*write TargetSample"):
        EvaluationProtocol(sample=1000)


def test_only_histories_of_sampled_targets_are_read(hard: SequenceDataset, fading):
    """A network reads each history up to its last sampled target."""
    read: list[int] = []

    class Counting(fading):
        def query_batch(self, batch, state=None):
            read.append(int(batch.valid_BT.sum()))
            return super().query_batch(batch, state)

    model, protocol = Counting(hard.items.warm), sampled(3)
    rank_targets(model, hard, protocol, QUICK)
    position_N = protocol.sampled_positions(hard)
    row_N = np.searchsorted(hard.offset, position_N, side="right") - 1
    last = dict(zip(row_N.tolist(), position_N.tolist(), strict=True))
    events = sum(position - int(hard.offset[row]) for row, position in last.items())
    cold = sum(int((hard.item[hard.offset[row] : end] > hard.items.warm).sum()) for row, end in last.items())
    assert sum(read) == events - cold


@pytest.mark.parametrize("limit", [1, 3, 7])
def test_score_tables_of_a_sample_stay_within_the_limit(hard, monkeypatch, limit):
    """Batches have as many events as fit with their sampled targets, fewer than one table each for every event."""
    events: list[int] = []

    class Measuring(type(Popularity().fit(hard))):
        def score_batch(self, batch, state=None):
            assert batch.targets <= limit
            events.append(int((batch.item_BT != 0).sum()))
            return super().score_batch(batch, state)

    monkeypatch.setattr(targets_module, "MAX_SCORES_PER_BATCH", limit * hard.items.warm)
    model = Popularity().fit(hard)
    every = rank_targets(model, hard, sampled(7), QUICK)
    model.__class__ = Measuring
    events.clear()
    found = rank_targets(model, hard, sampled(7), QUICK)
    assert found.greater_N.tolist() == every.greater_N.tolist()
    assert max(events) > limit


@pytest.mark.parametrize("rows", [1, 5, 63, 64])
def test_ranks_do_not_depend_on_the_width_of_the_tiles(monkeypatch, rows):
    """Few rows have wider tiles: the counts are those of narrow ones, with lists too."""
    generator = torch.Generator().manual_seed(rows)
    score_NI = torch.randint(50, (rows, 3000), generator=generator).float()
    target_N = torch.randint(1, 3001, (rows,), generator=generator)
    found = rank(GivenScores(score_NI), target_N)
    monkeypatch.setattr(ranks_module, "FEW_ROWS", 0)
    narrow = rank(GivenScores(score_NI), target_N)
    assert found.greater_N.tolist() == narrow.greater_N.tolist()
    assert found.equal_N.tolist() == narrow.equal_N.tolist()
    own_N1 = score_NI.gather(1, target_N[:, None] - 1)
    assert found.greater_N.tolist() == (score_NI > own_N1).sum(1).tolist()
