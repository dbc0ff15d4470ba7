"""Evaluation of several models. tests/cli/test_evaluate.py checks that several processes give the same numbers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.targets import rank_targets
from reprise.models.baselines.cooccurrence_scorer import Cooccurrence
from reprise.models.baselines.markov import Markov
from reprise.models.baselines.popularity import Popularity
from reprise.models.scorer import Scorer
from reprise.report.build import comparison_metric
from reprise.report.candidates import find_candidates
from reprise.report.evaluate_candidates import Evaluation, evaluate_candidates
from reprise.report.example_lists import choose_examples
from reprise.testing import worlds


def fitted(name: str, dataset: SequenceDataset) -> Scorer:
    model: Scorer = {"popularity": Popularity, "markov": Markov, "transitions": Cooccurrence}[name]().fit(
        dataset
    )
    return model


def evaluation(dataset: SequenceDataset, protocol: EvaluationProtocol) -> Evaluation:
    return Evaluation(protocol, EvaluationOptions(), choose_examples(dataset, protocol), fitted)


def test_all_candidates_are_evaluated_in_the_same_way_and_logged(tmp_path: Path) -> None:
    data = replace(worlds.cycle(), path=tmp_path)
    how, lines = evaluation(data, EvaluationProtocol(at=(2, 5))), list[str]()
    candidates = find_candidates([], ["markov", "popularity"])
    (markov,), (popularity,) = evaluate_candidates(candidates, data, how, "mrr@2", log=lines.append)
    assert markov.report.metrics == evaluate(Markov().fit(data), data, at=(2, 5)).metrics
    assert markov.examples.rank_X.tolist() == [1] * len(how.examples.row_X)
    assert popularity.report.protocol == markov.report.protocol == how.protocol
    assert lines[0].startswith("1/2  markov  ") and lines[0].endswith("mrr@2 1.0000")


def test_the_examples_of_the_validation_part_do_not_count_it(tmp_path: Path) -> None:
    data = replace(worlds.noise(items=12, sequences=40), path=tmp_path)
    protocol = EvaluationProtocol("valid", at=(5,))
    how = evaluation(data, protocol)
    ((found,),) = evaluate_candidates(
        find_candidates([], ["transitions"]), data, how, "ndcg@5", log=lambda line: None
    )
    model = Cooccurrence().fit(data)
    model.count(data, before="valid")
    ranks = rank_targets(model, data, protocol)
    place_X = np.searchsorted(ranks.position_N, how.examples.position_X)
    expected = ranks.greater_N[place_X] + 1 + ranks.equal_N[place_X] // 2
    assert found.examples.rank_X.tolist() == expected.tolist()


def test_zero_workers_are_an_error() -> None:
    data = worlds.cycle()
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"):
        evaluate_candidates([], data, evaluation(data, EvaluationProtocol()), "ndcg@20", workers=0)


def test_the_metric_of_a_comparison_is_one_of_the_reports() -> None:
    protocol = EvaluationProtocol(at=(20, 5))
    assert comparison_metric(None, protocol, EvaluationOptions()) == "ndcg@20"
    assert comparison_metric("mrr@5", protocol, EvaluationOptions()) == "mrr@5"
    with pytest.raises(ConfigError, match="the reports do not have the metric 'coverage@20'"):
        comparison_metric("coverage@20", protocol, EvaluationOptions())
