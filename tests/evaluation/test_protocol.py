"""The evaluation protocol: its checks, its hash, and the reports made with it."""

import inspect
from dataclasses import replace

import numpy as np
import pytest

import reprise as rp
from reprise.errors import ConfigError
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol, default_lengths
from reprise.models.baselines.markov import Markov
from reprise.testing.worlds import cycle, world

OTHERS = {
    "part": "valid", "at": (5,), "exclude_seen": True, "min_history": 2, "query_time": False, "ties": "worst",
}  # fmt: skip


def test_equal_protocols_have_equal_hashes():
    """The hash is written into files, so it must not depend on the process or the version."""
    assert EvaluationProtocol(at=(20, 10, 20)) == EvaluationProtocol()
    assert EvaluationProtocol(at=(20, 10, 20)).hash == EvaluationProtocol().hash == "c2c60f3f888d"


@pytest.mark.parametrize("name", OTHERS)
def test_every_field_changes_the_hash(name: str):
    other = replace(EvaluationProtocol(), **{name: OTHERS[name]})
    assert other.hash != EvaluationProtocol().hash


def test_a_min_history_below_one_is_an_error():
    with pytest.raises(ConfigError, match="min_history must be at least 1, got 0"):
        EvaluationProtocol(min_history=0)


def test_the_arguments_of_evaluate_have_the_defaults_of_the_protocol():
    parameters = inspect.signature(evaluate).parameters
    for name in ("part", "exclude_seen", "min_history"):
        assert parameters[name].default == getattr(EvaluationProtocol(), name)


def test_the_default_lists_are_not_longer_than_the_catalogue():
    assert default_lengths(100) == EvaluationProtocol().at == (10, 20)
    assert (default_lengths(15), default_lengths(7)) == ((10, 15), (7,))
    small = world([list("abcabc")] * 3)
    assert evaluate(Markov().fit(small), small).protocol.at == (3,)
    with pytest.raises(ConfigError, match="k=4 is above the catalogue of 3 items"):
        evaluate(Markov().fit(small), small, at=[4])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"at": 5}, "at must be a list of lengths, such as (10, 20), got 5"),
        ({"at": "10"}, "at must be a list of lengths, such as (10, 20), got '10'"),
        ({"at": {5: 1}}, "at must be a list of lengths, such as (10, 20), got {5: 1}"),
        ({"at": [5.0]}, "each length in at must be a whole number, got 5.0"),
        ({"at": ["5"]}, "each length in at must be a whole number, got '5'"),
        ({"at": [True]}, "each length in at must be a whole number, got True"),
        ({"at": [2**40]}, "each length in at must be at most 2,147,483,647, got 1099511627776"),
        ({"min_history": 2.5}, "min_history must be a whole number, got 2.5"),
        ({"min_history": 10**30}, f"min_history must be at most 2,147,483,647, got {10**30}"),
        ({"exclude_seen": "no"}, "exclude_seen must be True or False, got 'no'"),
        ({"query_time": None}, "query_time must be True or False, got None"),
        ({"part": "tset"}, "part must be 'train', 'valid' or 'test', got 'tset'; did you mean 'test'?"),
        ({"part": ["test"]}, "part must be 'train', 'valid' or 'test', got ['test']"),
    ],
)
def test_a_field_of_a_wrong_type_is_named(fields, message):
    with pytest.raises(ConfigError) as caught:
        EvaluationProtocol(**fields)
    assert str(caught.value) == message


def test_lengths_may_be_numpy_integers():
    assert EvaluationProtocol(at=np.array([5, 2, 5])).at == (2, 5)


def test_a_protocol_is_the_same_as_its_fields_as_arguments():
    dataset = cycle()
    model = Markov().fit(dataset)
    protocol = rp.EvaluationProtocol(part="valid", at=(2, 5), exclude_seen=True, min_history=3)
    one = evaluate(model, dataset, protocol=protocol)
    other = evaluate(model, dataset, part="valid", at=(2, 5), exclude_seen=True, min_history=3)
    assert one.to_dict() == other.to_dict()
    assert one.protocol == protocol
    assert one.to_dict()["protocol"]["hash"] == protocol.hash


def test_a_report_repeats_with_its_own_protocol():
    dataset = cycle()
    model = Markov().fit(dataset)
    report = evaluate(model, dataset, protocol=EvaluationProtocol(at=(3,), ties="best", query_time=False))
    assert evaluate(model, dataset, protocol=report.protocol).to_dict() == report.to_dict()


def test_a_protocol_and_one_of_its_fields_are_an_error():
    dataset = cycle()
    with pytest.raises(
        ConfigError, match="protocol and one of part, at, exclude_seen and min_history are given"
    ):
        evaluate(Markov().fit(dataset), dataset, at=(5,), protocol=EvaluationProtocol())


def test_execution_options_do_not_change_the_protocol():
    dataset = cycle(items=30)
    options = EvaluationOptions(events_per_batch=32, max_steps=4, seed=3, lists=False)
    assert evaluate(Markov().fit(dataset), dataset, options=options).protocol == EvaluationProtocol()
