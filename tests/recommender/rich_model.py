"""A network that reads every input, with weights that are not initial ones, and a log for it."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from reprise.data.dataset import SequenceDataset
from reprise.models.batch import Event
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.sequence_model import SequenceModel
from reprise.models.networks.state_attention import Alignment
from reprise.testing.worlds import world

KINDS = ("view", "cart", "buy")
START_S = 1_700_000_000


def visits_log() -> SequenceDataset:
    """Return forty users with twelve events each of twenty items, with kinds and partly unknown values."""
    generator = np.random.default_rng(3)
    log = world([[f"p{item}" for item in generator.integers(20, size=12)] for _ in range(40)])
    value_E = np.where(generator.random(log.events) < 0.3, np.nan, 20 * generator.random(log.events))
    return replace(
        log,
        kind=generator.integers(len(KINDS), size=log.events).astype(np.uint8),
        value=value_E.astype(np.float32),
        kinds=KINDS,
    )


def rich(log: SequenceDataset, alignment: Alignment = "additive", **fields: Any) -> SequenceModel:
    """Return a network with attention, decay, time gaps, kinds, values, request times, cosines and all corrections."""
    torch.manual_seed(2)
    options: dict[str, Any] = {
        "attention": 5, "cooccurrence": 4, "repeats": 6, "gaps": True, "query_time": True, "kinds": True, "values": True,
        "temperature": 0.1, "decay": True,
    }  # fmt: skip
    model = Recurrent(size=16, layers=1, alignment=alignment, **{**options, **fields}).build(log.sizes)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("inputs.", "head.")) or name == "encoder.distance":
                parameter.normal_()
            if name in ("cooccurrence.gain", "cooccurrence.cosine_gain"):
                parameter.fill_(0.5)
            if name.startswith("repeat_head."):
                parameter += 0.5 * torch.randn_like(parameter)
            if name == "decay.rate_D":
                parameter.fill_(-3.0)
        if model.repeat_head is not None:
            model.repeat_head.enabled.fill_(1.0)
            model.repeat_head.scale.fill_(0.7)
    model.count(log)
    return model.eval()


def random_history(seed: int, length: int = 9) -> list[dict[str, Any]]:
    """Return events with partly unknown times and values, and with gaps from zero to two months."""
    generator = np.random.default_rng(seed)
    time_s, events = float(START_S), []
    for _ in range(length):
        time_s += float(generator.choice([0.0, 1.0, 4_000.0, 5e6]))
        event = {"item_id": f"p{generator.integers(20)}", "kind": str(generator.choice(KINDS))}
        if generator.random() < 0.8:
            event["timestamp"] = time_s
        if generator.random() < 0.7:
            event["value"] = float(100 * generator.standard_normal())
        events.append(event)
    return events


def torch_scores(
    model: SequenceModel, log: SequenceDataset, history: list[dict[str, Any]], now_s: float | None = None
) -> np.ndarray:
    """Return the scores of the torch network, computed event by event."""
    state = model.initial_state(1)
    with torch.no_grad():
        for event in history:
            kind = log.kinds.index(event["kind"]) if "kind" in event else 0
            state = model.advance(
                state,
                Event(
                    torch.tensor([log.items.index(event["item_id"])]),
                    torch.tensor([event.get("timestamp", np.nan)], dtype=torch.float64),
                    torch.tensor([kind]),
                    torch.tensor([event.get("value", np.nan)], dtype=torch.float32),
                ),
            )
        now_s_B = None if now_s is None else torch.tensor([now_s], dtype=torch.float64)
        return model.scores(state, now_s_B)[0].numpy()
