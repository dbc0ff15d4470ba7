"""Forecasts of a saved model: the same as those of the trained network, for any history."""

from dataclasses import replace
from math import isclose, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reprise.data.dataset import SequenceDataset
from reprise.errors import ArtefactError, ConfigError
from reprise.evaluation.forecasting.forecast_targets import events_ahead, queries_before
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.models.networks.recurrent import Recurrent
from reprise.recommender.artefact.artefact import Artefact, write
from reprise.recommender.recommender import Recommender
from reprise.testing.worlds import RHYTHM_GAPS, RHYTHM_KINDS, rhythm
from reprise.training import TrainingConfig, train

START_S = 1_000_000.0


@pytest.fixture(scope="module")
def dataset() -> SequenceDataset:
    return rhythm(400)


@pytest.fixture(scope="module")
def model(dataset: SequenceDataset, tmp_path_factory: pytest.TempPathFactory) -> NetworkScorer:
    spec = Recurrent(size=16, layers=1, cooccurrence=0, repeats=0, gaps=True, kinds=True)
    config = TrainingConfig(epochs=1, refit=0, forecast=True)
    return train(
        spec, dataset, tmp_path_factory.mktemp("forecaster") / "run", training=config, progress=False
    )


@pytest.fixture(scope="module")
def shop(model: NetworkScorer, dataset: SequenceDataset) -> Recommender:
    return Recommender(model, dataset)


def history(dataset: SequenceDataset, row: int, end: int) -> list[dict[str, Any]]:
    """The first events of a sequence, as a caller has them."""
    events = range(int(dataset.offset[row]), end)
    ids = dataset.items.item_ids([int(dataset.item[event]) for event in events])
    return [
        {
            "item_id": item,
            "timestamp": dataset.time_ms[event] / 1000,
            "kind": dataset.kinds[dataset.kind[event]],
        }
        for item, event in zip(ids, events, strict=True)
    ]


def events(*kinds: str, gap_s: float = 20.0) -> list[dict[str, Any]]:
    return [
        {"item_id": f"i{place}", "timestamp": START_S + gap_s * place, "kind": kind}
        for place, kind in enumerate(kinds)
    ]


def test_a_saved_model_forecasts_what_the_trained_network_does(
    model: NetworkScorer, dataset: SequenceDataset, shop: Recommender, tmp_path: Path
) -> None:
    test = events_ahead(dataset, "test")
    query_ND = queries_before(model, dataset, test, "test")
    assert model.forecast is not None
    kind_NK, gaps = model.forecast.predict(query_ND, test.history)
    assert kind_NK is not None
    assert gaps is not None
    shop.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    for place in range(0, 200, 23):
        given = history(dataset, int(test.row_N[place]), int(test.position_N[place]))
        found = shop.forecast(given)
        assert found.kinds is not None
        assert found.time is not None
        assert [found.kinds[kind] for kind in dataset.kinds] == pytest.approx(
            kind_NK[place].tolist(), abs=1e-4
        )
        assert found.time.same_time == pytest.approx(float(gaps.zero_N[place]), abs=1e-4)
        assert found.time.median_s == pytest.approx(float(gaps.quantile(0.5)[place]), rel=1e-3, abs=1e-3)
        assert found.time.expected_s == pytest.approx(float(gaps.mean()[place]), rel=1e-3)
        assert loaded.forecast(given) == found


def test_the_forecast_comes_near_the_known_distributions(shop: Recommender) -> None:
    for last, (kind, code) in {"view": ("view", 0), "buy": ("view", 1)}.items():
        found = shop.forecast(events("view", "view", last), length=0)
        zero, mean, width = RHYTHM_GAPS[code]
        assert found.kinds is not None
        assert found.time is not None
        assert found.kinds[kind] == pytest.approx(RHYTHM_KINDS[code][0], abs=0.08)
        assert found.time.same_time == pytest.approx(zero, abs=0.08)
        # the quantile of 0.9 over all gaps is that of (0.9 - zero) / (1 - zero) among the gaps above 0
        share = (0.9 - zero) / (1 - zero)
        score = {0: 0.8416, 1: 1.2206}[code]  # the standard normal quantiles of 0.8 and 0.889
        assert share == pytest.approx({0: 0.8, 1: 0.8889}[code], abs=1e-4)
        assert log(found.time.quantiles_s[0.9]) == pytest.approx(mean + score * width, abs=0.35)


def test_events_of_unknown_items_are_read_by_kind_and_time(shop: Recommender) -> None:
    known = events("view", "view")
    bought = [*known, {"item_id": "never seen", "timestamp": START_S + 60, "kind": "buy"}]
    found, before = shop.forecast(bought), shop.forecast(known)
    assert found.skipped == 1
    assert found.time is not None
    assert before.time is not None
    assert found.time.same_time < before.time.same_time - 0.2


def test_waiting_excludes_an_event_at_the_same_time_and_shorter_waits(shop: Recommender) -> None:
    given = events("view", "view")
    found = shop.forecast(given, now=START_S + 20 + 3_600)
    assert found.time is not None
    assert found.time.same_time == 0
    assert 0 <= found.time.quantiles_s[0.1] <= found.time.median_s <= found.time.quantiles_s[0.9]
    at_once = shop.forecast(given, now=START_S + 20)
    assert at_once == shop.forecast(given)


def test_the_path_has_different_items_and_rising_times(shop: Recommender) -> None:
    path = shop.forecast(events("view", "buy"), length=5).path
    assert len({step.item_id for step in path}) == 5
    waits = [step.after_s for step in path if step.after_s is not None]
    assert waits == sorted(waits)
    assert all(step.log_probability < 0 for step in path)
    # a cycle: the item after the last one is the most probable
    first = shop.recommend(events("view", "buy"), k=1)[0]
    assert path[0].item_id == first.item_id
    assert shop.forecast(events("view"), length=0).path == []


def test_a_user_without_events_and_one_without_times_get_a_forecast(shop: Recommender) -> None:
    for given in ([], ["i1", "i2"], ["never seen"]):
        found = shop.forecast(given, length=2)
        assert found.kinds is not None
        assert isclose(sum(found.kinds.values()), 1)
        assert len(found.path) == 2
        assert all(np.isfinite(step.log_probability) for step in found.path)


def test_many_histories_give_the_forecasts_of_each(shop: Recommender, dataset: SequenceDataset) -> None:
    given: list[Any] = [[], ["never seen"], events("view"), ["i1", "i2"], history(dataset, 0, 7)]
    for now in (None, START_S + 10**6):
        together = shop.forecast_many(given, length=3, now=now)
        for found, one in zip(together, given, strict=True):
            alone = shop.forecast(one, length=3, now=now)
            assert found.skipped == alone.skipped
            assert found.kinds == pytest.approx(alone.kinds, abs=1e-5)
            assert found.time is not None
            assert alone.time is not None
            assert found.time.quantiles_s == pytest.approx(alone.time.quantiles_s, rel=1e-4, abs=1e-4)
            for step, expected in zip(found.path, alone.path, strict=True):
                assert step.item_id == expected.item_id
                assert step.log_probability == pytest.approx(expected.log_probability, abs=1e-4)
                assert step.after_s == pytest.approx(expected.after_s, rel=1e-4, abs=1e-4, nan_ok=True)
    assert shop.forecast_many([]) == []


def test_a_model_without_heads_names_the_remedy(model: NetworkScorer, dataset: SequenceDataset) -> None:
    heads, model.forecast = model.forecast, None
    try:
        plain = Recommender(model, dataset)
    finally:
        model.forecast = heads
    with pytest.raises(
        ConfigError, match="no forecast heads; add them to its run with `reprise fit-forecast RUN`"
    ):
        plain.forecast(["i1"])


def test_a_negative_length_is_an_error(shop: Recommender) -> None:
    with pytest.raises(ConfigError, match="length"):
        shop.forecast(["i1"], length=-1)


@pytest.mark.parametrize("name", ["kind.output", "gap.direct"])
def test_damaged_heads_of_a_saved_model_are_an_error(shop: Recommender, tmp_path: Path, name: str) -> None:
    artefact: Artefact = shop.artefact
    tensors = dict(artefact.tensors)
    tensors[f"forecast.{name}"] = tensors[f"forecast.{name}"][:, 1:]
    with pytest.raises(ArtefactError, match="head has the shape"):
        write(replace(artefact, tensors=tensors), tmp_path / "model")
