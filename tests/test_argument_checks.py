"""Checks of arguments, and entry points of Python that are given a value of a wrong type."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reprise as rp
from reprise.argument_checks import choice, file_path, flag, instance, listed, number, whole
from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError, RepriseError
from reprise.evaluation import (
    Candidate,
    EvaluationOptions,
    EvaluationProtocol,
    Metric,
    aggregate_seeds,
    compare_models,
    find_metric,
)
from reprise.report import find_candidates, read_comparison
from reprise.testing import worlds

DATA = worlds.cycle()
MODEL = rp.Markov().fit(DATA)
REPORT = rp.evaluate(MODEL, DATA, at=[5])
TWO = [Candidate("a", (REPORT,)), Candidate("b", (REPORT,))]
SPEC = rp.Recurrent(size=8, layers=1)
WRONG = [
    0, -1, 2.5, float("nan"), float("inf"), 10**30, True, "", "a\0b", b"x", [], [1], {"a": 1}, object(), int,
    np.array([1, 2]), Path("/dev/null/x"), "\ud800", (1, "a"), {1, 2},
]  # fmt: skip
CALLS: dict[str, Callable[[Any], object]] = {
    "open": rp.SequenceDataset.open,
    "load_run": rp.load_run,
    "describe": rp.describe,
    "train": lambda value: rp.train(SPEC, value, "run"),
    "train model": lambda value: rp.train(value, DATA, "/dev/null/run"),
    "train out": lambda value: rp.train(SPEC, DATA, value),
    "train options": lambda value: rp.train(SPEC, DATA, "/dev/null/run", options=value),
    "train training": lambda value: rp.train(SPEC, DATA, "/dev/null/run", training=value),
    "train on_epoch": lambda value: rp.train(SPEC, DATA, "/dev/null/run", on_epoch=value),
    "tune": lambda value: rp.tune(SPEC, value, "search"),
    "tune out": lambda value: rp.tune(SPEC, DATA, value),
    "tune space": lambda value: rp.tune(SPEC, DATA, "/dev/null/search", value),
    "tune search": lambda value: rp.tune(SPEC, DATA, "/dev/null/search", search=value),
    "fit": rp.ItemKNN().fit,
    "evaluate": lambda value: rp.evaluate(value, DATA),
    "evaluate data": lambda value: rp.evaluate(MODEL, value),
    "evaluate protocol": lambda value: rp.evaluate(MODEL, DATA, protocol=value),
    "evaluate options": lambda value: rp.evaluate(MODEL, DATA, options=value),
    "protocol part": lambda value: EvaluationProtocol(part=value),
    "protocol ties": lambda value: EvaluationProtocol(ties=value),
    "metrics": lambda value: EvaluationOptions(metrics=value),
    "metric": lambda value: Metric(value, np.ones_like),
    "gain": lambda value: rp.evaluate(
        MODEL, DATA, options=EvaluationOptions(metrics=(Metric("own", lambda rank_K: value),))
    ),
    "find_metric": find_metric,
    "compare": lambda value: rp.compare(REPORT, value),
    "compare within": lambda value: rp.compare(REPORT, REPORT, within=value),
    "candidate": lambda value: compare_models(value, metric="recall@5"),
    "reports": lambda value: aggregate_seeds(value),
    "compare metric": lambda value: compare_models(TWO, metric=value),
    "compare against": lambda value: compare_models(TWO, metric="recall@5", against=value),
    "read_comparison": read_comparison,
    "find_candidates": lambda value: find_candidates(value, []),
    "spec": rp.spec,
}  # fmt: skip
VALID = {("train on_epoch", 14), ("spec", 14), ("train out", 16), ("tune out", 16)}
"""Pairs of a call and the position of a value that is not wrong there, or wrong for another reason."""


@pytest.mark.parametrize("call", CALLS)
def test_a_value_of_a_wrong_type_is_an_error_of_this_package(call: str) -> None:
    for position, value in enumerate(WRONG):
        if (call, position) not in VALID:
            with pytest.raises(RepriseError):
                CALLS[call](value)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: whole("k", 2.0), "k must be a whole number, got 2.0"),
        (lambda: whole("k", True), "k must be a whole number, got True"),
        (lambda: whole("k", np.bool_(True)), "k must be a whole number, got np.True_"),
        (lambda: whole("k", 0), "k must be at least 1, got 0"),
        (lambda: whole("k", -(10**5000)), "k must be at least 1, got an object of type int"),
        (lambda: whole("k", 2**31), "k must be at most 2,147,483,647, got 2147483648"),
        (lambda: whole("k", "3", remedy="pass 3"), "k must be a whole number, got '3'; pass 3"),
        (lambda: number("level", "0.5"), "level must be a number, got '0.5'"),
        (lambda: number("level", float("nan")), "level must be a finite number, got nan"),
        (lambda: number("level", 10**400), f"level must be a number, got {str(10**400)[:60]}... of type int"),
        (lambda: flag("lists", 1), "lists must be True or False, got 1"),
        (lambda: choice("part", "tets", ("valid", "test")), "part must be 'valid' or 'test', got 'tets'; did you mean 'test'?"),
        (lambda: file_path("out", 5), "out must be a path, got 5"),
        (lambda: file_path("out", ""), "out must be the path of a file or directory, got ''"),
        (lambda: file_path("out", "a\0"), "out must be the path of a file or directory, got 'a\\x00'"),
        (lambda: listed("at", {5: 1}, "lengths"), "at must be a list of lengths, got {5: 1}"),
        (lambda: listed("at", np.array(5), "lengths"), "at must be a list of lengths, got array(5)"),
        (lambda: instance("x", "shop", SequenceDataset, "open it"), "x must be a SequenceDataset, got 'shop'; open it"),
    ],
)  # fmt: skip
def test_the_message_names_the_argument_and_the_value(check: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check()
    assert str(caught.value) == message


def test_values_are_returned_in_their_normal_type(tmp_path: Path) -> None:
    assert (whole("k", np.int8(3)), number("x", np.float32(0.5)), flag("f", np.bool_(False))) == (
        3,
        0.5,
        False,
    )
    assert file_path("out", str(tmp_path)) == file_path("out", tmp_path) == tmp_path
