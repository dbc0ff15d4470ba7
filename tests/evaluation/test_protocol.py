"""The evaluation protocol: its checks, its hash, and the reports made with it."""

import inspect
from dataclasses import replace

import pytest

import reprise as rp
from reprise.errors import ConfigError
from reprise.evaluation.evaluator import evaluate
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.models.baselines.markov import Markov
from reprise.testing.worlds import cycle

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
    for name in ("part", "at", "exclude_seen", "min_history"):
        assert parameters[name].default == getattr(EvaluationProtocol(), name)


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
