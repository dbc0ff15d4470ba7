"""The forecast heads find the known distributions of a synthetic log, and leave the ranking as it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reprise.data.dataset import SequenceDataset
from reprise.errors import ArtefactError, DataError
from reprise.evaluation.forecasting.forecast_scores import gap_scores, kind_scores, score_forecasts
from reprise.evaluation.forecasting.forecast_targets import events_ahead, queries_before
from reprise.evaluation.stats.bootstrap import Bootstrap
from reprise.forecast.forecast_heads import ForecastHeads, gap_distribution_of
from reprise.forecast.gap_distribution import GapDistribution
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.models.networks.recurrent import Recurrent
from reprise.testing.worlds import RHYTHM_GAPS, RHYTHM_KINDS, cycle, rhythm
from reprise.training import TrainingConfig, fit_forecast, train
from reprise.training.checkpoint import read_tensors, write_tensors
from reprise.training.forecasting.add_forecast import store_forecast
from reprise.training.forecasting.fit_forecast import best_temperature, gap_loss
from reprise.training.run_directory import RunDirectory, load_model

SPEC = Recurrent(size=16, layers=1, cooccurrence=0, repeats=0)
QUICK = TrainingConfig(epochs=1, refit=0)


@pytest.fixture(scope="module")
def log() -> SequenceDataset:
    return rhythm(1000)


@pytest.fixture(scope="module")
def model(log: SequenceDataset, tmp_path_factory: pytest.TempPathFactory) -> NetworkScorer:
    out = tmp_path_factory.mktemp("forecast") / "run"
    return train(SPEC, log, out, training=replace(QUICK, forecast=True), progress=False)


def test_the_heads_come_near_the_best_possible_scores(log: SequenceDataset, model: NetworkScorer) -> None:
    test = events_ahead(log, "test")
    query_ND = queries_before(model, log, test, "test")
    assert model.forecast is not None
    kind_NK, gaps = model.forecast.predict(query_ND, test.history)
    assert kind_NK is not None
    assert gaps is not None
    last_N = test.history.kind_NW[:, -1]
    zero_N, mean_N, width_N = np.array(RHYTHM_GAPS)[last_N].T
    truth = GapDistribution(zero_N, np.ones((len(last_N), 1)), mean_N[:, None], width_N[:, None])
    best_kind, found_kind = (
        kind_scores(p_NK, test.kind_N) for p_NK in (np.array(RHYTHM_KINDS)[last_N], kind_NK)
    )
    best_gap, found_gap = (gap_scores(one, test.gap_s_N) for one in (truth, gaps))
    assert found_kind["log_loss"].mean() < best_kind["log_loss"].mean() + 0.02
    assert found_gap["log_likelihood"].mean() > best_gap["log_likelihood"].mean() - 0.05
    assert found_gap["crps"].mean() < 1.05 * best_gap["crps"].mean()


def test_the_scores_show_the_gain_over_the_baselines(log: SequenceDataset, model: NetworkScorer) -> None:
    found = score_forecasts(model, log, Bootstrap(resamples=200))
    assert found is not None
    shares = next(row for row in found.kinds if row.name == "shares of kinds")
    poisson = next(row for row in found.gaps if row.name == "Poisson")
    low = poisson.differences["log_likelihood"].low
    assert shares.differences["log_loss"].value < 0.01
    assert low is not None
    assert low > 1
    assert found.ece is not None
    assert found.ece < 0.1
    assert all(abs(one.share - one.level) < 0.06 for one in found.gap_coverage)


def test_heads_are_added_to_a_finished_run_and_do_not_change_its_ranking(tmp_path: Path) -> None:
    log = rhythm(60)
    plain = train(SPEC, log, tmp_path / "run", training=QUICK, progress=False)
    assert plain.forecast is None
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    run = RunDirectory(tmp_path / "run")
    heads = store_forecast(run, plain, log, seed=1)
    loaded = load_model(run, log)
    assert loaded.forecast is not None
    for name, array in heads.tensors.items():
        assert np.array_equal(loaded.forecast.tensors[name], array)
    assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.state_dict().items())


def test_heads_of_other_weights_are_not_used(tmp_path: Path) -> None:
    log = rhythm(60)
    train(SPEC, log, tmp_path / "run", training=replace(QUICK, forecast=True), progress=False)
    run = RunDirectory(tmp_path / "run")
    assert load_model(run, log).forecast is not None
    weights, metadata = read_tensors(run.best)
    weights["items.weight"] += 1
    write_tensors(run.best, weights, metadata)
    assert load_model(run, log).forecast is None


def test_damaged_heads_are_an_error(log: SequenceDataset, model: NetworkScorer) -> None:
    assert model.forecast is not None
    good = model.forecast.tensors
    assert ForecastHeads.from_tensors({}, model.size, 2) is None
    for name, array, fault in (
        ("gap.hidden", None, "no array 'hidden'"),
        ("kind.output", good["kind.output"][:, :-1], "has the shape"),
        ("kind.output", np.full_like(good["kind.output"], np.nan), "finite"),
        ("kind.extra", np.zeros(1, dtype=np.float32), "unknown arrays"),
    ):
        changed = {key: value for key, value in (good | {name: array}).items() if value is not None}
        with pytest.raises(ArtefactError, match=fault):
            ForecastHeads.from_tensors(changed, model.size, 2)


def test_the_loss_of_the_fit_is_the_likelihood_of_the_forecast() -> None:
    generator = np.random.default_rng(0)
    output_NO = (5 * generator.standard_normal((50, 13))).astype(np.float32)
    gap_s_N = np.where(generator.random(50) < 0.3, 0.0, np.exp(3 * generator.standard_normal(50)))
    expected_N = -gap_distribution_of(output_NO.astype(np.float64)).log_likelihood(gap_s_N)
    found_N = gap_loss(torch.from_numpy(output_NO), torch.from_numpy(gap_s_N.astype(np.float32)))
    assert found_N.numpy() == pytest.approx(expected_N, rel=1e-4, abs=1e-4)


def test_the_temperature_makes_overconfident_logits_calibrated() -> None:
    torch.manual_seed(0)
    logit_NK = torch.randn(20_000, 3)
    kind_N = torch.distributions.Categorical(logits=logit_NK).sample()
    assert best_temperature(3 * logit_NK, kind_N) == pytest.approx(3, rel=0.05)


def test_a_log_of_one_kind_has_a_gap_head_only(tmp_path: Path) -> None:
    log = cycle(sequences=16)
    model = train(SPEC, log, tmp_path / "run", training=QUICK, progress=False)
    heads = fit_forecast(model, log)
    assert heads.kind is None
    assert heads.gap is not None
    same_time = replace(log, time_ms=np.full_like(log.time_ms, 1000))
    with pytest.raises(DataError, match="nothing to forecast"):
        fit_forecast(model, same_time)
