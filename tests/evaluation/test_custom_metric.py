"""A metric of your own works in `evaluate`, in training, in `tune`, and in the report."""

import json
import pickle
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reprise.cli.commands.train import read_recipe
from reprise.errors import ConfigError
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.metrics import METRICS, Metric, find_metric
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.models.baselines.markov import Markov
from reprise.models.networks.recurrent import Recurrent
from reprise.report.build import build_comparison
from reprise.report.candidates import find_candidates
from reprise.report.render import render
from reprise.report.reproduce import options_of
from reprise.report.summary import summary
from reprise.testing.worlds import cycle, noise, world
from reprise.training.recipe import Recipe, RunOptions, TrainingConfig
from reprise.training.start_run import train
from reprise.training.tuning.tune import tune

MODULE = """
from reprise.evaluation import Metric

RBP = Metric("rbp", lambda rank_K: 0.2 * 0.8 ** (rank_K - 1))
ZERO = Metric("zero", lambda rank_K: 0.0 * rank_K)
"""
NAME = "own_metrics_of_this_test"
TINY = Recurrent(cell="mingru", size=8, layers=1, attention=0, cooccurrence=0, repeats=0)
EXACT = RunOptions(precision="32-true", accelerator="cpu", threads=1)


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / f"{NAME}.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop(NAME, None)


def test_an_object_is_evaluated_at_every_list_length(table):
    """Targets b, c, a at ranks 1, 3, 2."""
    squared = Metric("mrr_squared", lambda rank_K: 1 / rank_K**2)
    dataset = world([list("abcab"), list("abcac"), list("abcba")])
    report = evaluate(
        table([2.0, 3.0, 1.0]), dataset, at=(2, 3), options=EvaluationOptions(metrics=(*METRICS, squared))
    )
    assert report.metrics["mrr_squared@2"].value == pytest.approx((1 + 0 + 1 / 4) / 3)
    assert report.metrics["mrr_squared@3"].value == pytest.approx((1 + 1 / 9 + 1 / 4) / 3)
    low, high = report.metrics["mrr_squared@3"][1:]
    assert low is not None and high is not None and low < high
    assert all("mrr_squared@3" in part.metrics for part in report.slices.values())


def test_metrics_may_be_fewer_than_the_built_in_ones(table):
    dataset = world([list("abcab"), list("abcac")])
    only = EvaluationOptions(metrics=(find_metric("mrr"),), lists=False)
    assert list(evaluate(table([2.0, 3.0, 1.0]), dataset, at=(2,), options=only).metrics) == ["mrr@2"]


def test_a_module_outside_the_package_is_imported_only_if_trusted():
    with pytest.raises(ConfigError, match="lies outside the package reprise"):
        find_metric(f"{NAME}:RBP")
    assert NAME not in sys.modules
    assert find_metric(f"{NAME}:RBP", trusted=True).name == "rbp"


def test_a_named_metric_with_a_lambda_can_be_pickled():
    """Its name is pickled, and the other process imports it."""
    metric = find_metric(f"{NAME}:RBP", trusted=True)
    assert pickle.loads(pickle.dumps(metric)) == metric


def test_training_stops_early_by_it(tmp_path: Path):
    """A metric that cannot improve ends the training after `patience` epochs; it is recorded under its name."""
    training = TrainingConfig(epochs=9, events_per_batch=256, patience=1, refit=0, metric=f"{NAME}:ZERO@10")
    train(TINY, noise(items=20, sequences=30), tmp_path / "run", training=training, options=EXACT)
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    assert {record[f"valid {NAME}:ZERO@10"] for record in records} == {0.0}
    assert "valid ndcg@10" in records[0]


def test_a_search_ranks_its_trials_by_it(tmp_path: Path):
    recipe = Recipe(TINY, TrainingConfig(epochs=2, events_per_batch=256, refit=0, metric=f"{NAME}:RBP@5"))
    found = tune(recipe, cycle(), tmp_path / "search", {"training.learning_rate": [1e-5, 1e-2]}, trials=2)
    assert found.metric == f"{NAME}:RBP@5"
    assert found.best.fields == {"training.learning_rate": 1e-2}


def test_the_command_line_imports_the_metric_of_a_recipe_only_if_trusted():
    with pytest.raises(ConfigError, match="on the command line: --trusted"):
        read_recipe(None, [f"training.metric={NAME}:RBP@5"])
    assert (
        read_recipe(None, [f"training.metric={NAME}:RBP@5"], trusted=True).training.metric == f"{NAME}:RBP@5"
    )


def test_a_report_shows_it_and_can_be_repeated(tmp_path: Path):
    data = replace(cycle(), path=tmp_path)
    metric = find_metric(f"{NAME}:RBP", trusted=True)
    options = EvaluationOptions(metrics=(*METRICS, metric))
    built = build_comparison(
        find_candidates([], ["markov"]),
        data,
        lambda name, log: Markov().fit(log),
        EvaluationProtocol(at=(5,)),
        options,
        metric="rbp@5",
        log=lambda line: None,
    )
    study = json.loads(json.dumps(built.comparison))
    assert study["metric"] == "rbp@5"
    assert study["options"]["metrics"] == ["recall", "hit", "mrr", "ndcg", f"{NAME}:RBP"]
    assert study["entrants"][0]["pooled"]["metrics"]["rbp@5"]["value"] == pytest.approx(0.2)
    assert "rbp@5" in summary(study)
    assert "rbp@5" in render(study)
    assert options_of(study, trusted=True) == options
    with pytest.raises(ConfigError, match="lies outside the package reprise"):
        options_of(study)
