"""Asking several models. That other processes give the same numbers is seen on real runs, in tests/cli/test_evaluate.py."""

from dataclasses import replace
from pathlib import Path

import pytest

from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError
from reprise.evaluation.evaluator import evaluate
from reprise.models.baselines.cooccurrence_scorer import Cooccurrence
from reprise.models.baselines.markov import Markov
from reprise.models.baselines.popularity import Popularity
from reprise.models.scorer import Scorer
from reprise.report.candidates import contestants
from reprise.report.evaluate_candidates import Questions, assess
from reprise.report.example_lists import answers, choose
from reprise.testing import worlds


def fitted(name: str, dataset: SequenceDataset) -> Scorer:
    model: Scorer = {"popularity": Popularity, "markov": Markov, "transitions": Cooccurrence}[name]().fit(
        dataset
    )
    return model


def test_each_is_asked_the_same_and_it_is_said_when_it_is_done(tmp_path: Path) -> None:
    data = replace(worlds.cycle(), path=tmp_path)
    asked, said = Questions(at=(2, 5), metric="mrr@2"), list[str]()
    chosen = choose(data, asked.walk)
    found = assess(contestants([], ["markov", "popularity"]), data, asked, chosen, fitted, say=said.append)
    (markov,), (popularity,) = found
    assert markov.report.metrics == evaluate(Markov().fit(data), data, at=(2, 5)).metrics
    assert markov.lists.rank_X.tolist() == [1] * len(chosen.row_X)
    assert popularity.report.protocol == markov.report.protocol
    assert said[0].startswith("1/2  markov  ") and said[0].endswith("mrr@2 1.0000")


def test_a_model_that_counts_knows_no_more_in_the_examples_than_in_the_evaluation(tmp_path: Path) -> None:
    """Asked about the validation part, it has not counted it."""
    data = replace(worlds.noise(items=12, sequences=40), path=tmp_path)
    asked = Questions("valid", at=(5,))
    chosen = choose(data, asked.walk)
    ((found,),) = assess(contestants([], ["transitions"]), data, asked, chosen, fitted, say=lambda line: None)
    model = Cooccurrence().fit(data)
    model.observe(data, before="valid")
    assert (found.lists.item_XK == answers(model, data, asked.walk, chosen).item_XK).all()


def test_what_cannot_be_asked_is_told() -> None:
    with pytest.raises(ConfigError, match="no report has the metric 'coverage@10'"):
        Questions(metric="coverage@10")
    assert Questions(at=(20, 5)).judged == "ndcg@20"
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"):
        assess([], worlds.cycle(), Questions(), choose(worlds.cycle(), Questions().walk), fitted, workers=0)
