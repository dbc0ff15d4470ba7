"""Asking the entrants: one after the other or in several processes, with the same numbers either way."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch

from reprise.data.dataset import Part, SequenceDataset
from reprise.errors import ConfigError, did_you_mean
from reprise.evaluation.evaluator import Options, evaluate, knowing
from reprise.evaluation.metrics import CutoffMetric
from reprise.evaluation.ranking.targets import EvaluationPlan
from reprise.evaluation.report import Report
from reprise.models.scorer import Scorer
from reprise.report.candidates import Contestant
from reprise.report.example_lists import ExampleTopK, Moments, answers
from reprise.training.run_directory import RunDirectory, load_model

Fit = Callable[[str, SequenceDataset], Scorer]
"""A baseline by its name, fitted. It goes to other processes, so it is a function of a module."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Questions:
    """What every entrant is asked: the arguments of `evaluate`."""

    part: Part = "test"
    at: tuple[int, ...] = (10, 20)
    exclude_seen: bool = False
    min_history: int = 1
    options: Options = field(default_factory=Options)
    metric: str | None = None
    """What the verdicts are on; None: ndcg at the longest list."""

    def __post_init__(self) -> None:
        names = [CutoffMetric(metric, k).key for k in self.at for metric in self.options.metrics]
        if self.metric is not None and self.metric not in names:
            raise ConfigError(f"no report has the metric {self.metric!r}{did_you_mean(self.metric, names)}")

    @property
    def judged(self) -> str:
        """What the verdicts are on."""
        return self.metric or f"ndcg@{max(self.at, default=0)}"

    @property
    def walk(self) -> EvaluationPlan:
        """The targets."""
        how = self.options
        return EvaluationPlan(
            self.part,
            self.min_history,
            self.exclude_seen,
            how.query_time,
            how.tokens,
            how.length,
            how.progress,
        )


class Assessed(NamedTuple):
    """What one run, or one baseline, answered."""

    report: Report
    lists: ExampleTopK
    """Of the examples."""
    fitted_s: float
    """How long the fit of a baseline took; reading a run counts as nothing."""
    evaluated_s: float


@dataclass(frozen=True)
class _Task:
    """One run or one baseline, and all that another process needs to ask it."""

    name: str
    """How it is called while it is waited for."""
    run: Path | None
    baseline: str | None
    questions: Questions
    fit: Fit
    chosen: Moments


def assess(
    entrants: list[Contestant],
    dataset: SequenceDataset,
    questions: Questions,
    chosen: Moments,
    fit: Fit,
    *,
    workers: int = 1,
    say: Say = print,
) -> list[list[Assessed]]:
    """Ask every entrant, with each of its seeds.

    Args:
        entrants: Runs and baselines.
        dataset: On disk, where other processes find it.
        questions: What they are asked.
        chosen: The moments that serve as examples.
        fit: Makes a baseline from its name.
        workers: Processes. Each has the threads that this one has, so that sums are taken in the same order.
        say: Is told a line when an evaluation is done.
    """
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    assert dataset.path is not None
    tasks = [
        _Task(
            f"{one.name}{f', seed {seed}' if len(one.runs) > 1 else ''}",
            run,
            one.baseline,
            questions,
            fit,
            chosen,
        )
        for one in entrants
        for run, seed in zip(one.runs or [None], one.seeds or [None], strict=True)
    ]
    found = (
        _alone(tasks, dataset) if min(workers, len(tasks)) == 1 else _together(tasks, workers, dataset.path)
    )
    done = []
    for number, (task, answered) in enumerate(zip(tasks, found, strict=True), start=1):
        value = answered.report.metrics[questions.judged].value
        say(
            f"{number}/{len(tasks)}  {task.name}  {answered.evaluated_s:.1f} s  {questions.judged} {value:.4f}"
        )
        done.append(answered)
    left = iter(done)
    return [[next(left) for _ in one.runs or [None]] for one in entrants]


def _alone(tasks: list[_Task], dataset: SequenceDataset) -> Iterator[Assessed]:
    return (_ask(task, dataset) for task in tasks)


def _together(tasks: list[_Task], workers: int, data: Path) -> Iterator[Assessed]:
    with ProcessPoolExecutor(
        min(workers, len(tasks)),
        mp_context=get_context("spawn"),  # torch's threads do not survive a fork
        initializer=_prepare_worker,
        initargs=(torch.get_num_threads(), data),
    ) as pool:
        yield from pool.map(_ask_there, tasks)


_data: list[SequenceDataset] = []
"""What a worker asks about, opened once: it is searched for leaks once, too."""


def _prepare_worker(threads: int, data: Path) -> None:
    torch.set_num_threads(threads)
    _data[:] = [SequenceDataset.open(data)]


def _ask_there(task: _Task) -> Assessed:
    quiet = replace(task.questions, options=replace(task.questions.options, progress=False))
    return _ask(replace(task, questions=quiet), _data[0])


def _ask(task: _Task, dataset: SequenceDataset) -> Assessed:
    asked, begin = task.questions, time.perf_counter()
    model = _opened(task, dataset)
    ready = time.perf_counter()
    report = evaluate(
        model,
        dataset,
        part=asked.part,
        at=asked.at,
        exclude_seen=asked.exclude_seen,
        min_history=asked.min_history,
        options=asked.options,
    )
    done = time.perf_counter()
    with knowing(model, dataset, asked.part):
        lists = answers(model, dataset, asked.walk, task.chosen)
    return Assessed(report, lists, ready - begin if task.baseline else 0.0, done - ready)


def _opened(task: _Task, dataset: SequenceDataset) -> Scorer:
    if task.run is not None:
        return load_model(RunDirectory(task.run), dataset, task.questions.part)
    assert task.baseline is not None
    return task.fit(task.baseline, dataset)
