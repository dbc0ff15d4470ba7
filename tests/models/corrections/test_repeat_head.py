import math

import pytest
import torch

from reprise.data.vocabulary import PAD
from reprise.models.corrections.recent_events import RecentEvents
from reprise.models.corrections.repeat_head import RepeatHead
from reprise.models.corrections.score_corrections import ScoreCorrections
from reprise.models.networks.convolutional import Convolution
from reprise.models.networks.ensemble import Ensemble
from reprise.models.networks.network import Network
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.transformer import Transformer
from reprise.testing import worlds
from reprise.testing.contracts import check_scorer


def random_head(window: int, *, times: bool = False, kinds: int = 0) -> RepeatHead:
    torch.manual_seed(0)
    head = RepeatHead(window, times=times, kinds=kinds)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape))
    head.scale.fill_(0.7)
    head.enabled.fill_(1.0)
    return head


def random_windows(rows: int, width: int, items: int) -> RecentEvents:
    """Return windows of every length from 0, some with repeated items and an unknown time."""
    generator = torch.Generator().manual_seed(1)
    item_NW = torch.randint(1, items + 1, (rows, width), generator=generator)
    length_N = torch.arange(rows) % (width + 1)
    item_NW[torch.arange(width, 0, -1) > length_N[:, None]] = PAD
    time_s_NW = torch.rand(rows, width, generator=generator, dtype=torch.float64).mul(1e5).cumsum(1)
    time_s_NW[::3, 1] = torch.nan
    kind_NW = torch.randint(3, (rows, width), generator=generator)
    return RecentEvents(item_NW, time_s_NW, kind_NW)


def expected(head: RepeatHead, recent: RecentEvents, row: int, s_I: list[float]) -> list[float]:
    """Compute the equations of the docstring of `RepeatHead` by loops, for one target."""
    events = [
        (item, recent.time_s_NW[row, at].item(), int(recent.kind_NW[row, at]))  # type: ignore[index]
        for at, item in enumerate(recent.item_NW[row].tolist())
    ][-head.window :]
    last_s = events[-1][1]
    events = [event for event in events if event[0] != PAD]
    items = list(dict.fromkeys(item for item, _, _ in events))
    if not items:
        return s_I
    scale, pointer = head.scale.item(), {}
    w, own = head.position.tolist(), head.own_weight.item()
    for item in items:
        place = max(at for at, event in enumerate(events) if event[0] == item)
        r, c = len(events) - place, sum(event[0] == item for event in events)
        a = (w[r - 1] if r <= 3 else 0.0) + w[3] * math.log(r) + w[4] * (c > 1) + w[5] * math.log(c)
        a += own * scale * s_I[item - 1]
        if head.time is not None and not math.isnan(events[place][1]) and not math.isnan(last_s):
            a += head.time.item() * math.log1p(max(0.0, last_s - events[place][1]))
        if head.kind is not None:
            a += head.kind[events[place][2]].item()
        pointer[item] = a
    n, d = len(events), len(items)
    gate = head.gate.tolist()
    y = gate[0] + gate[1] * math.log(n) + gate[2] * math.log((n - d + 0.5) / (d + 0.5))
    log_total = math.log(sum(math.exp(scale * s) for s in sorted(s_I)[-20:]))
    log_sum = math.log(sum(math.exp(a) for a in pointer.values()))
    u = -math.log1p(math.exp(head.lowering.item()))
    found = list(s_I)
    for item, a in pointer.items():
        raised = math.exp(scale * s_I[item - 1] + u) + math.exp(log_total + y + a - log_sum)
        found[item - 1] = math.log(raised) / scale
    return found


@pytest.mark.parametrize(("times", "kinds"), [(False, 0), (True, 0), (False, 3), (True, 3)])
@pytest.mark.parametrize(("window", "width"), [(6, 6), (4, 6), (2, 2)])
def test_the_head_computes_its_equations(times: bool, kinds: int, window: int, width: int) -> None:
    """The windows may be longer than that of the head, which then uses their last events."""
    head, items = random_head(window, times=times, kinds=kinds), 30
    recent = random_windows(20, width, 5)
    s_NI = torch.randn(20, items, generator=torch.Generator().manual_seed(2))
    rows = [expected(head, recent, row, s_I) for row, s_I in enumerate(s_NI.tolist())]
    with torch.no_grad():
        found_NI = ScoreCorrections(repeats=head(recent)).apply(s_NI.clone())
    torch.testing.assert_close(found_NI, torch.tensor(rows), atol=1e-4, rtol=1e-4)


def test_a_head_can_lower_the_items_of_the_window() -> None:
    """With a very negative gate and u, items that were seen fall below all others."""
    head = random_head(5)
    with torch.no_grad():
        head.gate.copy_(torch.tensor([-30.0, 0.0, 0.0]))
        head.lowering.fill_(30.0)
    s_NI = ScoreCorrections(repeats=head(RecentEvents(torch.tensor([[PAD, PAD, 3, 1, 3]])))).apply(
        torch.zeros(1, 6)
    )
    assert s_NI.topk(4).indices.sort().values.tolist() == [[1, 3, 4, 5]]


def test_a_window_without_events_changes_nothing() -> None:
    """No number is NaN, and no gradient either."""
    head = random_head(4)
    s_NI = torch.randn(2, 9)
    recent = RecentEvents(torch.tensor([[PAD] * 4, [PAD, PAD, PAD, 2]]))
    found_NI = ScoreCorrections(repeats=head(recent)).apply(s_NI.clone())
    assert torch.equal(found_NI[0], s_NI[0])
    found_NI.sum().backward()
    for parameter in head.parameters():
        assert parameter.grad is None or bool(torch.isfinite(parameter.grad).all())


def test_equal_items_of_the_window_stay_equal() -> None:
    """Two items with the same logit, count and distance from the third place on get the same new logit."""
    head = random_head(6)
    with torch.no_grad():
        head.position.zero_()
    recent = RecentEvents(torch.tensor([[1, 2, 1, 2, 3, 4]]))
    found_NI = ScoreCorrections(repeats=head(recent)).apply(torch.ones(1, 8))
    assert found_NI[0, 0] == found_NI[0, 1] > found_NI[0, 4] == 1.0
    assert found_NI[0, 2] == found_NI[0, 3]


@pytest.mark.parametrize(
    "spec",
    [
        Recurrent(size=8, layers=1, repeats=3),
        Recurrent(size=8, layers=1, repeats=30, cooccurrence=2, kinds=True),
        Recurrent(size=8, layers=1, cooccurrence=0, gaps=True, query_time=True, decay=True),
        Recurrent(size=8, layers=1, cell="gru", residual=False, repeats=4),
        Transformer(size=8, layers=1, heads=1, window=6, repeats=8),
        Convolution(size=8, repeats=8),
        Ensemble(Recurrent(size=8, layers=1, repeats=5, gaps=True), 2),
    ],
    ids=lambda spec: str(spec),
)
def test_networks_with_a_head_satisfy_the_scorer_contract(spec: Network | Ensemble) -> None:
    """Whole batches equal single steps, with carried states, fresh rows and unknown items; the windows are short."""
    torch.manual_seed(0)
    dataset = worlds.noise(items=9, sequences=20)
    model = spec.build(dataset.sizes).eval()
    assert model.repeat_head is not None
    model.repeat_head.enabled.fill_(1.0)
    if model.cooccurrence is not None:
        with torch.no_grad():
            model.cooccurrence.gain.fill_(0.5)
            model.cooccurrence.cosine_gain.fill_(0.5)
        model.count(dataset)
    check_scorer(model, dataset)


def test_bare_networks_have_no_head_by_default() -> None:
    sizes = worlds.cycle().sizes
    assert Recurrent(size=8, residual=False).build(sizes).repeat_head is None
    head = Recurrent(size=8).build(sizes).repeat_head
    assert head is not None and head.window == 50 and head.is_zero
