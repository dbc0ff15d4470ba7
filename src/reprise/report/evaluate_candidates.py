"""Evaluate the candidates of a comparison, in this process or in several; the numbers are the same either way."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import NamedTuple

import torch

from reprise.argument_checks import whole
from reprise.data.dataset import SequenceDataset
from reprise.data.external_lists.read_lists import read_lists
from reprise.errors import ConfigError
from reprise.evaluation.content_ablation import ablate_content, ablation_record, reads_content
from reprise.evaluation.evaluator import evaluate_ranks
from reprise.evaluation.external_lists.evaluate_lists import ListsOfSequences, rank_in_lists
from reprise.evaluation.options import EvaluationOptions
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.targets import scored_view
from reprise.evaluation.report import Report
from reprise.models.scorer import Scorer
from reprise.report.candidates import CandidateSource
from reprise.report.comparison_file import JsonObject
from reprise.report.example_lists import ExampleObserver, ExampleTargets, ExampleTopK
from reprise.training.run_directory import RunDirectory, load_model

Fit = Callable[[str, SequenceDataset], Scorer]
"""Function that fits a baseline by its name. It must be importable by other processes, so not a lambda."""
Log = Callable[[str], None]
"""Function that receives one line of progress."""


class EvaluatedModel(NamedTuple):
    """The report of one run or one baseline, and its lists for the examples."""

    report: Report
    examples: ExampleTopK
    """Lists and ranks of the example targets."""
    fitted_s: float
    """Seconds that the fit of a baseline took; 0 for a run."""
    evaluated_s: float
    """Seconds that the evaluation took."""
    content: list[JsonObject] | None = None
    """What the network loses without parts of the content of items (`ablation_record`); None for other models."""


@dataclass(frozen=True)
class Evaluation:
    """How every candidate of a comparison is evaluated. It is sent to other processes."""

    protocol: EvaluationProtocol
    options: EvaluationOptions
    examples: ExampleTargets
    """Targets that serve as examples."""
    fit: Fit
    """Function that fits a baseline by its name."""

    def __call__(self, task: "CandidateTask", dataset: SequenceDataset) -> EvaluatedModel:
        """Open a run, fit a baseline or read lists, and evaluate it."""
        begin = time.perf_counter()
        if task.lists is not None:
            return self._lists(task.name, task.lists, dataset)
        model = self._open(task, dataset)
        ready = time.perf_counter()
        observer = ExampleObserver(self.examples, scored_view(model, dataset).items.scored)
        report, ranks = evaluate_ranks(model, dataset, self.protocol, self.options, [observer])
        done = time.perf_counter()
        fitted_s = ready - begin if task.baseline else 0.0
        content = self._content(model, dataset, report) if task.is_first else None
        return EvaluatedModel(report, observer.result(ranks), fitted_s, done - ready, content)

    def _lists(self, name: str, file: Path, dataset: SequenceDataset) -> EvaluatedModel:
        begin = time.perf_counter()
        lists = ListsOfSequences(read_lists(file), dataset)
        report, ranks = rank_in_lists(lists, self.protocol, self.options, name)
        observer = ExampleObserver(self.examples, dataset.items.scored)
        for place, row in enumerate(self.examples.row_X.tolist()):
            top_K = lists.top(row, observer.k)
            observer.item_XK[place, : len(top_K)] = top_K
        return EvaluatedModel(report, observer.result(ranks), 0.0, time.perf_counter() - begin)

    def _content(self, model: Scorer, dataset: SequenceDataset, report: Report) -> list[JsonObject] | None:
        """Evaluate a network without parts of the content of items, if it reads it and there are intervals."""
        if not reads_content(model) or self.options.resamples < 2:
            return None
        return ablation_record(ablate_content(model, dataset, self.protocol, self.options, report=report))

    def _open(self, task: "CandidateTask", dataset: SequenceDataset) -> Scorer:
        if task.run is not None:
            return load_model(RunDirectory(task.run), dataset, self.protocol.part, trusted=task.trusted)
        assert task.baseline is not None
        return self.fit(task.baseline, dataset)


@dataclass(frozen=True)
class CandidateTask:
    """One run, one baseline or one file of lists to evaluate."""

    name: str
    """Name in progress lines."""
    run: Path | None
    baseline: str | None
    trusted: bool
    """Whether the run may import classes outside this package."""
    lists: Path | None = None
    """File with ranked lists; None for a run or a baseline."""
    is_first: bool = True
    """Whether it is the first run of its candidate."""


def evaluate_candidates(
    candidates: Sequence[CandidateSource],
    dataset: SequenceDataset,
    evaluation: Evaluation,
    metric: str,
    *,
    workers: int = 1,
    log: Log = print,
) -> list[list[EvaluatedModel]]:
    """Evaluate every candidate with each of its seeds.

    Args:
        candidates: Runs and baselines.
        dataset: Dataset on disk, where other processes find it.
        evaluation: How each is evaluated.
        metric: Metric in the progress lines, such as 'ndcg@20'.
        workers: Number of processes. Each has as many threads as this one, so that sums are taken in the same order.
        log: Receives a line when an evaluation is done.

    Returns:
        For each candidate the results of its runs, in order.
    """
    workers = whole("workers", workers)
    if dataset.path is None:
        raise ConfigError(
            "the dataset is in memory; prepare it into a directory, where a report can find it again"
        )
    tasks = [
        CandidateTask(
            f"{one.name}{f', seed {seed}' if len(one.runs) > 1 else ''}",
            run,
            one.baseline,
            one.trusted,
            lists=one.lists,
            is_first=not one.runs or run == one.runs[0],
        )
        for one in candidates
        for run, seed in zip(one.runs or [None], one.seeds or [None], strict=True)
    ]
    results: Iterator[EvaluatedModel]
    if min(workers, len(tasks)) == 1:
        results = (evaluation(task, dataset) for task in tasks)
    else:
        results = _in_processes(tasks, evaluation, workers, dataset.path)
    done = []
    for number, (task, result) in enumerate(zip(tasks, results, strict=True), start=1):
        value = result.report.metrics[metric].value
        log(f"{number}/{len(tasks)}  {task.name}  {result.evaluated_s:.1f} s  {metric} {value:.4f}")
        done.append(result)
    left = iter(done)
    return [[next(left) for _ in one.runs or [None]] for one in candidates]


def _in_processes(
    tasks: list[CandidateTask], evaluation: Evaluation, workers: int, data: Path
) -> Iterator[EvaluatedModel]:
    quiet = replace(evaluation, options=replace(evaluation.options, progress=False))
    others = active_children()
    with ProcessPoolExecutor(
        min(workers, len(tasks)),
        mp_context=get_context("spawn"),  # torch's threads do not survive a fork
        initializer=_prepare_worker,
        initargs=(torch.get_num_threads(), data, quiet),
    ) as pool:
        try:
            yield from pool.map(_evaluate_in_worker, tasks)
        except BrokenProcessPool:
            raise ConfigError(
                "a worker process has died, perhaps because there is not enough memory; use fewer workers"
            ) from None
        except BaseException:  # after Ctrl-C or an error: do not wait for the other results
            for worker in active_children():
                if worker not in others:
                    worker.terminate()
            raise


_worker_data: list[tuple[SequenceDataset, Evaluation]] = []
"""Dataset and evaluation of a worker process. The dataset is opened once, and so checked for leaks once."""


def _prepare_worker(threads: int, data: Path, evaluation: Evaluation) -> None:
    # Ctrl-C reaches all processes, and the main one stops the workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    _worker_data[:] = [(SequenceDataset.open(data), evaluation)]


def _evaluate_in_worker(task: CandidateTask) -> EvaluatedModel:
    dataset, evaluation = _worker_data[0]
    return evaluation(task, dataset)
