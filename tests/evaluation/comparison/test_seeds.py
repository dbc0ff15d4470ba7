import numpy as np
import pytest

from reprise.errors import DataError
from reprise.evaluation.calibration import Bin, Calibration
from reprise.evaluation.comparison.seeds import Estimate, SeedRuns, aggregate_seeds, resample_runs
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.report import check_comparable
from reprise.models.baselines.markov import Markov
from reprise.testing.worlds import noise


def test_the_parts_of_the_variance():
    """Two runs, .1 and .3, each with a variance of .01 over the sequences and a covariance of .002.

    Sequences: (.01 + .01 + 2 * .002) / 4. Seeds: .02 / 2, of which (.01 - .002) / 2 is due to the sequences.
    """
    runs = SeedRuns(np.array([0.1, 0.3]), np.array([[0.01, 0.002], [0.002, 0.01]]), 101)
    found = runs.estimate([0, 1])
    sequences, seeds, explained = 0.024 / 4, 0.02 / 2, 0.008 / 2
    assert found.value == pytest.approx(0.2)
    assert found.standard_error**2 == pytest.approx(sequences + seeds - explained)
    assert found.degrees_of_freedom == pytest.approx(
        (sequences + seeds - explained) ** 2 / (sequences**2 / 100 + seeds**2 / 1)
    )


def test_equal_runs_have_the_error_of_one():
    cov = np.full((3, 3), 0.01)
    runs = SeedRuns(np.full(3, 0.2), cov, 50)
    assert runs.estimate([0, 1, 2]) == runs.estimate([0])
    assert runs.estimate([0]).standard_error == pytest.approx(0.1)
    assert runs.estimate([0, 1], [2]) == Estimate(0.0, 0.0, 49)
    assert runs.estimate([0, 1], [2]).p == 1


def test_the_variance_is_right_on_average(report_of):
    """Over many draws of sequences and seeds, the mean squared error equals the mean of the estimated variances."""
    generator = np.random.default_rng(0)
    errors, estimated = [], []
    for _ in range(300):
        common_S = generator.normal(size=80)
        reports = [
            report_of("net", 1 + common_S + generator.normal() * 0.1 + generator.normal(size=80))
            for _ in range(4)
        ]
        found = resample_runs(reports, [None], ["recall@5"])[0]["recall@5"].estimate(range(4))
        errors.append((found.value - 1 / 2) ** 2)
        estimated.append(found.standard_error**2)
    assert np.mean(estimated) == pytest.approx(np.mean(errors), rel=0.2)


def test_the_aggregate_is_the_mean_of_the_runs_with_wider_intervals():
    """Three Markov chains with different smoothing in place of three seeds; slices are aggregated too."""
    dataset = noise()
    reports = [evaluate(Markov(smoothing).fit(dataset), dataset, at=(5,)) for smoothing in (0.1, 10, 1000)]
    found = aggregate_seeds(reports, "chain")
    assert (found.name, found.targets, found.bootstrap) == (
        "chain",
        400,
        reports[0].bootstrap,
    )
    for name, interval in found.metrics.items():
        assert interval.value == pytest.approx(np.mean([report.metrics[name].value for report in reports]))
    own, one = found.metrics["recall@5"], reports[1].metrics["recall@5"]
    assert own.high - own.low > one.high - one.low
    assert found.metrics["novelty@5"].low is None
    assert set(found.slices) == set(reports[0].slices)
    part = found.slices["head"]
    assert part.of == "popularity"
    assert part.metrics["mrr@5"].value == pytest.approx(
        np.mean([report.slices["head"].metrics["mrr@5"].value for report in reports])
    )
    assert part.sums.sum_SM.sum(0) / part.targets == pytest.approx([it.value for it in part.metrics.values()])
    assert found.notes[-1].startswith("Means over 3 runs with different seeds.")
    check_comparable(found, [reports[0]])


def test_intervals_are_limited_to_zero_and_one(report_of):
    reports = [report_of("net", 2 * (np.arange(9) < of)) for of in (0, 1, 2)]
    found = aggregate_seeds(reports).metrics["recall@5"]
    assert found.low == 0
    assert 0 < found.value < found.high < 1


def test_calibration_is_averaged_bin_by_bin(report_of):
    first, second = (report_of("net", np.arange(4)) for _ in range(2))
    for report, ece in ((first, 0.1), (second, 0.3)):
        object.__setattr__(report, "calibration", Calibration(ece, (Bin(ece, 2 * ece, 8),), ece))
    found = aggregate_seeds([first, second]).calibration
    assert found.ece == found.log_loss == pytest.approx(0.2)
    assert found.bins == (pytest.approx(Bin(0.2, 0.4, 8)),)
    object.__setattr__(second, "calibration", None)
    assert aggregate_seeds([first, second]).calibration is None


def test_a_single_report_keeps_its_intervals(report_of):
    report = report_of("net", np.arange(4))
    assert aggregate_seeds([report]).metrics is report.metrics
    assert aggregate_seeds([report], "other").name == "other"


def test_no_report_is_an_error():
    with pytest.raises(DataError, match="there is no report to aggregate"):
        aggregate_seeds([])


def test_reports_with_different_protocols_are_not_aggregated():
    dataset = noise()
    model = Markov().fit(dataset)
    one, other = (
        evaluate(model, dataset, protocol=EvaluationProtocol(at=(5,), ties=ties))
        for ties in ("best", "worst")
    )
    with pytest.raises(DataError, match="cannot be compared: ties is 'best' for one and 'worst'"):
        aggregate_seeds([one, other])
