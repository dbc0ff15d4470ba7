"""A small network with vectors, a scorer without, and a dataset with everything that makes evaluation hard."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.report import EvaluatedData, Report, SequenceSums
from reprise.evaluation.stats.bootstrap import Bootstrap
from reprise.models.batch import Batch, Event, events_at_step
from reprise.models.corrections.score_corrections import ScoreCorrections
from reprise.models.encoder import select_state
from reprise.nn.cells import State
from reprise.testing.worlds import world


class Fading(nn.Module):
    """A sum of item vectors that decays with every event, plus a function of the time to the query."""

    name = "Fading"

    def __init__(self, items: int, width: int = 5) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.vectors = nn.Parameter(torch.randn(items + 1, width, generator=generator))
        self.dropout = nn.Dropout(0.5)

    def initial_state(self, batch: int) -> State:
        return {
            "h": torch.zeros(batch, self.vectors.shape[1]),
            "last_s": torch.zeros(batch, dtype=torch.float64),
        }

    def advance(self, state: State, event: Event) -> State:
        after = {
            "h": self.dropout(0.5 * state["h"] + self.vectors[event.item_B]),
            "last_s": event.time_s_B,
        }
        return select_state(after, state, event.item_B != PAD)

    def query(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        gap = torch.zeros(len(state["h"])) if now_s_B is None else (now_s_B - state["last_s"]).float()
        # without a query time the gap is NaN, which counts as 0
        return state["h"] + torch.log1p(torch.nan_to_num(gap))[:, None]

    def corrections(self, state: State) -> ScoreCorrections:
        return ScoreCorrections()

    def scores(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        return self.query(state, now_s_B) @ self.item_vectors().T

    def item_vectors(self) -> Tensor:
        return self.vectors[1:]

    def query_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, ScoreCorrections, State]:
        fresh = self.initial_state(len(batch.item_BT))
        state = fresh if state is None else select_state(state, fresh, ~batch.fresh_B)
        query_BTD = []
        for step in range(batch.item_BT.shape[1]):
            state = self.advance(state, events_at_step(batch, step))
            now_s_B = batch.time_s_BT[:, step] + batch.query_gap_s_BT[:, step].double()
            query_BTD.append(self.query(state, now_s_B))
        return torch.stack(query_BTD, 1)[batch.target_BT != PAD], ScoreCorrections(), state

    def score_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        query_ND, _, state = self.query_batch(batch, state)
        return query_ND @ self.item_vectors().T, state


class Table:
    """A scorer that gives the same scores for every history."""

    name = "Table"

    def __init__(self, scores: list[float]) -> None:
        self.table = torch.tensor(scores)

    def initial_state(self, batch: int) -> State:
        return {"none": torch.zeros(batch, 0)}

    def advance(self, state: State, event: Event) -> State:
        return state

    def scores(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        return self.table.expand(len(state["none"]), -1)

    def score_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        return self.table.expand(batch.targets, -1), self.initial_state(len(batch.item_BT))


@pytest.fixture
def fading() -> type[Fading]:
    return Fading


@pytest.fixture
def table() -> type[Table]:
    return Table


@pytest.fixture
def hard() -> SequenceDataset:
    """Return long and short rows, cold items as inputs and targets, repeats, equal times, and a row of test events only."""
    generator = np.random.default_rng(5)
    rows = []
    for length in [2, 1, 3, 47, 8, 8, 19, 30, 2, 5, 12]:
        row = [f"i{item}" for item in generator.integers(9, size=length)]
        if length > 6:
            row[-4], row[-2] = "late", "later"
        rows.append(row)
    dataset = world(rows, valid=2, test=3)
    dataset.time_ms[:] = dataset.time_ms // 120_000 * 120_000
    # different values, so that no event is a duplicate, which the leakage checks would report
    dataset.value[:] = np.arange(dataset.events)
    return dataset


def _report(name: str, sum_S: np.ndarray, *, resamples: int = 300, trained: bool = True) -> Report:
    """Make a report of one metric, `recall@5`, from its sums over sequences of two targets each."""
    sequences = len(sum_S)
    bootstrap = Bootstrap(resamples=resamples)
    sums = SequenceSums(
        np.arange(sequences), np.full(sequences, 2), ("recall@5",), sum_S[:, None].astype(float)
    )
    data = EvaluatedData("made up", 2 * sequences, sequences, candidates=9)
    [value] = bootstrap.intervals(sums.sum_SM, sums.targets_S)
    protocol = EvaluationProtocol(at=(5,))
    return Report(name, {"recall@5": value}, {}, protocol, data, bootstrap, (), sums, trained=trained)


@pytest.fixture
def report_of():
    return _report
