"""Tests that the plots show the given numbers, read back from the SVG markup."""

import re

import pytest

from reprise.report import plots
from reprise.report.comparison_file import ComparisonRecord


def ranked(comparison: ComparisonRecord) -> plots.RankedModels:
    return plots.rank_models(comparison, "ndcg@10")


def heights(plot: str) -> list[float]:
    return [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', plot)]


def lefts(plot: str) -> list[float]:
    return [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', plot)]


def test_best_model_is_highest_and_fastest_is_leftmost(comparison: ComparisonRecord) -> None:
    plot = plots.training_time_plot(ranked(comparison), "ndcg@10")
    assert plot is not None
    assert heights(plot) == sorted(heights(plot))  # smaller is higher on a page
    best, second, popularity = lefts(plot)
    assert best == second > popularity
    assert "gru 1 x 8: ndcg@10 0.3000 (0.2800 to 0.3200), trained in 30.0 s" in plot


def test_there_is_no_time_plot_without_training_times(comparison: ComparisonRecord) -> None:
    for facts in comparison["entrants"]:
        facts["training"]["seconds"] = None
    assert plots.training_time_plot(ranked(comparison), "ndcg@10") is None


def test_learning_curves_have_a_line_per_seed_and_a_plot_per_metric(comparison: ComparisonRecord) -> None:
    ((metric, plot),) = plots.learning_curves(ranked(comparison))
    assert metric == "ndcg@10"
    assert plot.count("<polyline") == 3
    assert "gru 1 x 8: best ndcg@10 0.2667, epoch 3" in plot
    comparison["entrants"][2]["training"]["metric"] = "mrr@20"
    assert [name for name, _ in plots.learning_curves(ranked(comparison))] == ["ndcg@10", "mrr@20"]


@pytest.mark.parametrize(
    ("epochs", "labels"), [(1, ["1", "2"]), (3, ["1", "2", "3"]), (12, ["1", "2", "4", "6", "8", "10", "12"])]
)
def test_epoch_ticks_are_whole_numbers(epochs: int, labels: list[str]) -> None:
    assert [text for _, text in plots._epoch_ticks(epochs)] == labels


def test_many_epochs_have_few_ticks() -> None:
    assert len(plots._epoch_ticks(1000)) <= 9


def test_slices_of_one_criterion_share_a_plot(comparison: ComparisonRecord) -> None:
    for facts in comparison["entrants"]:
        facts["pooled"]["slices"]["short"] = dict(facts["pooled"]["slices"]["warm"], of="history")
    (item, both), (history, one) = plots.slice_plots(ranked(comparison), "ndcg@10")
    assert (item, history) == ("item", "history")
    assert both.count("<circle") == 6 and one.count("<circle") == 3
    assert "90 targets" in both and "10 targets" in both


def test_slice_without_intervals_is_plotted(comparison: ComparisonRecord) -> None:
    for facts in comparison["entrants"]:
        for part in facts["pooled"]["slices"].values():
            for interval in part["metrics"].values():
                interval["low"] = interval["high"] = None
    ((_, plot),) = plots.slice_plots(ranked(comparison), "ndcg@10")
    assert "lstm 1 x 8: ndcg@10 0.2800<" in plot


def test_reliability_diagram_has_only_models_with_probabilities(comparison: ComparisonRecord) -> None:
    plot = plots.reliability_diagram(ranked(comparison))
    assert plot is not None
    assert plot.count("<polyline") == 2
    assert "gru 1 x 8: confidence 40.0%, accuracy 33.0%, 50 targets" in plot
    assert plots.reliability_diagram([pair for pair in ranked(comparison) if pair[0].baseline]) is None


def test_first_seed_is_used_without_pooled_calibration(comparison: ComparisonRecord) -> None:
    facts = comparison["entrants"][1]
    facts["pooled"]["calibration"] = None
    assert plots.calibration_of(facts) == facts["reports"][0]["calibration"]


def test_interval_bars_share_a_scale_from_zero(comparison: ComparisonRecord) -> None:
    bars = plots.interval_bars(ranked(comparison), "ndcg@10")
    ends = [lefts(bar)[0] for bar in bars]
    assert ends[0] > ends[1] > ends[2]
    assert (ends[2] - 1) / (ends[0] - 1) == pytest.approx(0.1 / 0.3, abs=0.01)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.004, "4 ms"), (1.0, "1.0 s"), (89.0, "89.0 s"), (138.0, "2.3 min"), (7200.0, "2.0 h")],
)
def test_durations_have_a_suitable_unit(seconds: float, text: str) -> None:
    assert plots.duration(seconds) == text


def test_names_of_points_do_not_overlap(comparison: ComparisonRecord) -> None:
    """Thirteen models at one point: few names fit, but the plot has all points."""
    overlapping = [
        comparison["entrants"][1],
        *({**comparison["entrants"][1], "name": f"gru {n}"} for n in range(12)),
    ]
    comparison["entrants"] = overlapping  # type: ignore[assignment]
    plot = plots.training_time_plot(ranked(comparison), "ndcg@10")
    assert plot is not None
    assert plot.count("<circle") + plot.count("<rect") == 13
    assert 1 <= plot.count('class="name"') < 13
