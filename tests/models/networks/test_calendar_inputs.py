"""The hour and the day of the week as inputs: periodic, zero initially, and the same in all ways to compute a network."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from reprise.data.dataset import SequenceDataset
from reprise.models.networks.event_inputs import CalendarEmbedding
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.sequence_model import SequenceModel
from reprise.recommender.artefact.onnx_export import export
from reprise.testing.contracts import check_scorer
from reprise.testing.worlds import cycle

HOUR_S, DAY_S = 3600.0, 86_400.0


def learned(size: int = 4) -> CalendarEmbedding:
    torch.manual_seed(0)
    embedding = CalendarEmbedding(size)
    torch.nn.init.normal_(embedding.weight)
    return embedding


def test_it_is_zero_initially_and_for_an_unknown_time() -> None:
    time_s = torch.tensor([1e9, torch.nan], dtype=torch.float64)
    assert not CalendarEmbedding(3)(time_s).any()
    first, unknown = learned()(time_s)
    assert first.any() and not unknown.any()


def test_it_repeats_after_a_week_and_not_after_a_day_or_an_hour() -> None:
    embedding = learned()
    start = embedding(torch.tensor([1.7e9], dtype=torch.float64))
    week = embedding(torch.tensor([1.7e9 + 52 * 7 * DAY_S], dtype=torch.float64))
    torch.testing.assert_close(week, start, atol=1e-5, rtol=0)
    for later_s in (HOUR_S, 12 * HOUR_S, DAY_S, 3 * DAY_S):
        assert (embedding(torch.tensor([1.7e9 + later_s], dtype=torch.float64)) - start).abs().max() > 1e-2


def calendar_model() -> tuple[SequenceModel, SequenceDataset]:
    torch.manual_seed(0)
    dataset = cycle(items=6, sequences=20, length=12)
    # events at all hours and days
    time_ms = dataset.time_ms * 37
    model = Recurrent(cell="gru", size=8, layers=1, calendar=True).build(dataset.sizes)
    for name, parameter in model.named_parameters():
        if "calendar" in name:
            torch.nn.init.normal_(parameter)
    return model.eval(), replace(dataset, time_ms=time_ms)


def test_step_and_scan_agree() -> None:
    model, dataset = calendar_model()
    check_scorer(model, dataset)


def test_the_export_computes_the_same() -> None:
    model, dataset = calendar_model()
    assert {"time_s", "now_s"} <= set(model.reads)
    export(model, dataset)


@pytest.mark.parametrize("hour", [0, 13])
def test_the_hour_of_the_request_changes_the_scores(hour: int) -> None:
    model, _ = calendar_model()
    state = model.initial_state(2)
    now_s = torch.tensor([1e9, 1e9 + (hour + 1) * HOUR_S], dtype=torch.float64)
    first, second = model.scores(state, now_s)
    assert (first - second).abs().max() > 1e-3
    assert np.isfinite(model.scores(state).detach().numpy()).all()
