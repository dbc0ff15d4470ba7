"""The pictures show the numbers they are given: read back from the markup."""

import re

import pytest

from reprise.report import plots
from reprise.report.comparison_file import Comparison
from reprise.report.render import in_order


def drawn(study: Comparison) -> plots.Drawn:
    return in_order(study, "ndcg@10")


def heights(picture: str) -> list[float]:
    return [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', picture)]


def lefts(picture: str) -> list[float]:
    return [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', picture)]


def test_the_best_is_highest_and_the_fastest_leftmost(study: Comparison) -> None:
    picture = plots.cost(drawn(study), "ndcg@10")
    assert picture is not None
    assert heights(picture) == sorted(heights(picture))  # smaller is higher on a page
    best, second, popularity = lefts(picture)
    assert best == second > popularity
    assert "gru 1 x 8: ndcg@10 0.3000 (0.2800 to 0.3200), trained in 30.0 s" in picture


def test_without_any_time_there_is_no_picture_of_it(study: Comparison) -> None:
    for facts in study["entrants"]:
        facts["training"]["seconds"] = None
    assert plots.cost(drawn(study), "ndcg@10") is None


def test_there_is_a_curve_for_each_seed_and_a_picture_for_each_metric(study: Comparison) -> None:
    ((metric, picture),) = plots.curves(drawn(study))
    assert metric == "ndcg@10"
    assert picture.count("<polyline") == 3
    assert "gru 1 x 8: best ndcg@10 0.2667, epoch 3" in picture
    study["entrants"][2]["training"]["metric"] = "mrr@20"
    assert [name for name, _ in plots.curves(drawn(study))] == ["ndcg@10", "mrr@20"]


@pytest.mark.parametrize(
    ("epochs", "words"), [(1, ["1", "2"]), (3, ["1", "2", "3"]), (12, ["1", "2", "4", "6", "8", "10", "12"])]
)
def test_epochs_are_whole(epochs: int, words: list[str]) -> None:
    assert [word for _, word in plots._whole(epochs)] == words


def test_many_epochs_have_few_ticks() -> None:
    assert len(plots._whole(1000)) <= 9


def test_slices_of_one_kind_share_a_picture(study: Comparison) -> None:
    for facts in study["entrants"]:
        facts["pooled"]["slices"]["short"] = dict(facts["pooled"]["slices"]["warm"], of="history")
    (item, both), (history, one) = plots.slices(drawn(study), "ndcg@10")
    assert (item, history) == ("item", "history")
    assert both.count("<circle") == 6 and one.count("<circle") == 3
    assert "90 targets" in both and "10 targets" in both


def test_a_slice_without_intervals_is_drawn(study: Comparison) -> None:
    for facts in study["entrants"]:
        for part in facts["pooled"]["slices"].values():
            for interval in part["metrics"].values():
                interval["low"] = interval["high"] = None
    ((_, picture),) = plots.slices(drawn(study), "ndcg@10")
    assert "lstm 1 x 8: ndcg@10 0.2800<" in picture


def test_reliability_is_drawn_for_those_with_probabilities(study: Comparison) -> None:
    picture = plots.reliability(drawn(study))
    assert picture is not None
    assert picture.count("<polyline") == 2
    assert "gru 1 x 8: 40.0% sure, 33.0% right, 50 targets" in picture
    assert plots.reliability([pair for pair in drawn(study) if pair[0].baseline]) is None


def test_when_no_seeds_are_pooled_the_first_seed_is_drawn(study: Comparison) -> None:
    facts = study["entrants"][1]
    facts["pooled"]["calibration"] = None
    assert plots.calibration_of(facts) == facts["reports"][0]["calibration"]


def test_bars_have_one_scale_from_zero(study: Comparison) -> None:
    bars = plots.interval_bar(drawn(study), "ndcg@10")
    ends = [lefts(bar)[0] for bar in bars]
    assert ends[0] > ends[1] > ends[2]
    assert (ends[2] - 1) / (ends[0] - 1) == pytest.approx(0.1 / 0.3, abs=0.01)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.004, "4 ms"), (1.0, "1.0 s"), (89.0, "89.0 s"), (138.0, "2.3 min"), (7200.0, "2.0 h")],
)
def test_times_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert plots.duration(seconds) == words


def test_names_stand_where_they_cover_nothing(study: Comparison) -> None:
    """Two models at one place: only one name fits beside a point, and the picture still has both points."""
    crowd = [study["entrants"][1], *({**study["entrants"][1], "name": f"gru {n}"} for n in range(12))]
    study["entrants"] = crowd  # type: ignore[assignment]
    picture = plots.cost(drawn(study), "ndcg@10")
    assert picture is not None
    assert picture.count("<circle") + picture.count("<rect") == 13
    assert 1 <= picture.count('class="name"') < 13
