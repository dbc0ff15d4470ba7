"""Python entry points refuse arguments of wrong types and sizes with an error of the package."""

import datetime
import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from rounds import Fuzz, check_message

import reprise as rp
from reprise.errors import RepriseError

OBJECTS: list[Callable[[], Any]] = [
    lambda: None, lambda: True, lambda: 0, lambda: -1, lambda: 7, lambda: 10**30, lambda: 0.5, lambda: float("nan"),
    lambda: float("inf"), lambda: "", lambda: "x", lambda: "ü😀", lambda: b"x", list, lambda: [None], lambda: [[]],
    lambda: [1.5], lambda: ["x", 3], lambda: [("x", "now")], lambda: [{"item_id": 3, "timestamp": "never"}],
    lambda: [{"item": 3}], dict, lambda: {"a": 1}, set, lambda: {3, 4}, object, lambda: object, lambda: len,
    lambda: Path("missing"), lambda: Path(), lambda: np.array([]), lambda: np.array([1.5]), lambda: np.zeros((2, 2)),
    lambda: np.float64("nan"), lambda: np.int64(3), lambda: np.array("x"), pd.DataFrame, lambda: pd.Series([1, 2]),
    lambda: pd.DataFrame({"user_id": [1], "item_id": [2], "timestamp": [3]}), pl.DataFrame, lambda: pa.table({}),
    lambda: pl.Series([1]), lambda: pa.array([1]), lambda: range(3), lambda: iter([1]), lambda: (one for one in "ab"),
    lambda: datetime.datetime(2024, 1, 1), lambda: datetime.date(2024, 1, 1), lambda: decimal.Decimal(3),
    lambda: complex(1, 2), lambda: slice(3), lambda: Exception("x"), lambda: rp.Popularity(), lambda: "1 day",
]  # fmt: skip
"""Objects that callers pass by mistake, each made for one call."""


def calls(shop: Path, work: Path) -> dict[str, Callable[[Any], Any]]:
    """Return functions of one argument: entry points of the package with all other arguments valid."""
    model, dataset = rp.load_run(shop / "run")
    recommender = rp.Recommender.load(shop / "model")
    history = recommender.items.ids[:2].tolist()
    found: dict[str, Callable[[Any], Any]] = {
        "read_events": rp.read_events,
        "read_events.tz": lambda one: rp.read_events(shop / "log.csv", tz=one),
        "read_events.item": lambda one: rp.read_events(shop / "log.csv", item=one),
        "prepare.events": lambda one: rp.prepare(one, work / "out", progress=False),
        "prepare.items": lambda one: rp.prepare(shop / "log.csv", work / "out", items=one, progress=False),
        "describe": rp.describe,
        "SequenceDataset.open": rp.SequenceDataset.open,
        "load_run": rp.load_run,
        "load_run.dataset": lambda one: rp.load_run(shop / "run", one),
        "Recommender.load": rp.Recommender.load,
        "evaluate.model": lambda one: rp.evaluate(one, dataset),
        "evaluate.dataset": lambda one: rp.evaluate(model, one),
        "train.spec": lambda one: rp.train(one, dataset, work / "run"),
        "train.dataset": lambda one: rp.train(rp.Recurrent(size=8, layers=1), one, work / "run"),
        "train.training": lambda one: rp.train(
            rp.Recurrent(size=8, layers=1), dataset, work / "run", training=one
        ),
        "recommend": recommender.recommend,
        "recommend_many": recommender.recommend_many,
        "similar_items": recommender.similar_items,
        "generate": lambda one: recommender.generate(one, 3),
        "with_items": recommender.with_items,
        "save": lambda one: recommender.save(work / "saved", one),
    }
    for name in ("split", "memory_limit", "allow_leaks", "sequence_by", "session_gap", "min_item_events",
                 "min_sequence_events", "duplicates"):  # fmt: skip
        found[f"prepare.{name}"] = lambda one, name=name: rp.prepare(
            shop / "log.csv", work / "out", progress=False, overwrite=True, **{name: one}
        )
    for name in ("at", "part", "exclude_seen", "min_history"):
        found[f"evaluate.{name}"] = lambda one, name=name: rp.evaluate(model, dataset, **{name: one})
    for name in ("k", "deny", "allow", "filter", "exclude_seen", "diversity", "now"):
        found[f"recommend.{name}"] = lambda one, name=name: recommender.recommend(
            history, **{"k": 3, name: one}
        )
    for name in ("size", "layers", "cell", "dropout", "attention", "cooccurrence"):
        found[f"Recurrent.{name}"] = lambda one, name=name: rp.Recurrent(**{name: one})
    for name in ("epochs", "learning_rate", "metric", "patience", "loss", "objective", "bptt_steps"):
        found[f"TrainingConfig.{name}"] = lambda one, name=name: rp.TrainingConfig(**{name: one})
    return found


def test_fuzz_wrong_arguments_are_refused_by_python_entry_points(fuzz: Fuzz, shop: Path, work: Path) -> None:
    functions = calls(shop, work)

    @given(name=st.sampled_from(sorted(functions)), make=st.sampled_from(range(len(OBJECTS))))
    def check(name: str, make: int) -> None:
        try:
            functions[name](OBJECTS[make]())
        except RepriseError as error:
            check_message(error)
        except Exception as error:
            raise AssertionError(f"{name}({OBJECTS[make]()!r}) raised {error!r}") from error

    fuzz(check)
