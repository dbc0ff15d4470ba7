"""The search for a better recipe: Optuna proposes, trials learn, the validation part judges.

The files of the trials are the truth, so that a search which was killed at any moment goes on where it was.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from reprise.config import to_dict
from reprise.data.dataset import SequenceDataset
from reprise.data.leakage.checks import check_leaks
from reprise.errors import ConfigError
from reprise.progress import SearchProgress
from reprise.training.recipe import Recipe, RunOptions
from reprise.training.tuning.optuna_study import OptunaStudy
from reprise.training.tuning.search_directory import (
    FORMAT,
    Search,
    SearchDirectory,
    SearchOptions,
    Trial,
    show_fields,
)
from reprise.training.tuning.search_space import (
    changed,
    default_space,
    parse_space,
    plain_space,
    settle_space,
)
from reprise.training.tuning.trial import Outcome, run_trial
from reprise.training.tuning.workers import Message, Worker, wait_for
from reprise.training.validation import Validation

DEATHS = 3
"""Processes that a trial may take with it."""


def tune(
    model: Any,
    dataset: SequenceDataset,
    out: str | Path,
    space: dict[str, Any] | None = None,
    *,
    trials: int = 30,
    workers: int = 1,
    options: RunOptions | None = None,
    search: SearchOptions | None = None,
) -> Search:
    """Search for the recipe with the best `training.metric` on the validation part, or go on with a search that was begun.

    Args:
        model: A spec, or a whole `Recipe`: what is changed. A spec that is fitted by counting (`fit`) can be searched too.
        dataset: Its training part is learned, its validation part judges; only the search for leaks reads the test part.
        out: Where everything is kept. Called again with the same arguments, a search that was stopped goes on; with more
            trials, a finished one too.
        space: Choices or a range by dotted field: `{"model.size": [32, 64], "training.learning_rate": "1e-3..1e-2:log"}`.
            None: the usual fields of the model.
        trials: How many there are to be in all.
        workers: Processes that learn at a time. With one, the same seed gives the same trials; with more, which are tried
            depends on who is done first, and the value of a trial does not.
        options: Seed, device, precision; threads of each trial, one if not said.
        search: What is rarely changed.

    Raises:
        ConfigError: an unknown field, a value that its spec refuses, or another search in this place; all trials failed.
        DataError: the data leaks, or has nothing to judge by.
    """
    recipe = model if isinstance(model, Recipe) else Recipe(model=model)
    options, search = options or RunOptions(), search or SearchOptions()
    options = replace(options, threads=options.threads or 1)
    _check(recipe, dataset, trials, workers)
    settled = settle_space(parse_space(space) if space else default_space(recipe), recipe, dataset.sizes)
    proposals = OptunaStudy(settled, options.seed, search.pruner, recipe.training.epochs)
    folder = SearchDirectory(Path(out))
    told = {
        "format": FORMAT,
        "recipe": to_dict(recipe),
        "space": plain_space(settled),
        "seed": options.seed,
        "pruner": search.pruner,
        "fingerprint": dataset.fingerprint,
    }
    folder.begin(told, dataset)
    with folder.locked(), SearchProgress(search.progress, trials) as bar:
        work = _Work(folder, recipe, options, proposals, search, trials, bar)
        try:
            if workers == 1:
                _run_here(work, dataset)
            else:
                _run_apart(work, dataset, min(workers, trials))
        finally:
            work.release()
        return work.result()


def _check(recipe: Recipe, dataset: SequenceDataset, trials: int, workers: int) -> None:
    if not (hasattr(recipe.model, "build") or hasattr(recipe.model, "fit")):
        raise ConfigError(
            f"model must be a spec that builds or fits, such as Recurrent(), got {recipe.model!r}"
        )
    for name, number in (("trials", trials), ("workers", workers)):
        if number < 1:
            raise ConfigError(f"{name} must be at least 1, got {number}")
    if workers > 1 and dataset.path is None:
        raise ConfigError(
            "the data lies in the memory of this process, where its workers cannot read it; prepare it into a directory, or "
            "use one worker"
        )
    check_leaks(dataset)  # before each trial would meet them
    Validation(recipe.training, dataset)  # it says what is wrong with the metric, or the part


class _Work:
    """The trials of a search: which is next, what became of each."""

    def __init__(
        self,
        folder: SearchDirectory,
        recipe: Recipe,
        options: RunOptions,
        proposals: OptunaStudy,
        search: SearchOptions,
        wanted: int,
        bar: SearchProgress,
    ) -> None:
        self.folder, self.recipe, self.options, self.proposals = folder, recipe, options, proposals
        self.search, self.wanted, self.bar = search, wanted, bar
        self.trials = folder.trials()
        self.since: dict[int, float] = {}
        """When the trials under way were begun."""
        self.lagging: set[int] = set()
        self.begun = time.monotonic()
        for trial in self.trials:
            proposals.recall(trial)

    @property
    def metric(self) -> str:
        return self.recipe.training.metric

    @property
    def seconds_left(self) -> float | None:
        if self.search.timeout_s is None:
            return None
        return max(0.0, self.begun + self.search.timeout_s - time.monotonic())

    def take(self) -> Trial | None:
        """The next trial: one that was begun and not finished, or a new one; none when it is enough."""
        while self.seconds_left != 0.0:
            waiting = [t for t in self.trials if not t.finished and t.number not in self.since]
            if not waiting and len(self.trials) >= self.wanted:
                return None
            trial = waiting[0] if waiting else Trial(len(self.trials) + 1, {})
            trial.fields = self.proposals.ask(trial.number)
            if not waiting:
                self.trials.append(trial)
            twin = next((t for t in self.trials if t.value is not None and t.fields == trial.fields), None)
            if twin is not None:
                self._copy(trial, twin)
            elif trial.deaths >= DEATHS:
                died = f"its process ended {trial.deaths} times without a word; is there enough memory?"
                self.finish(trial, {"error": died})
            else:
                self.since[trial.number] = time.monotonic()
                self.folder.save(trial)
                self._show()
                return trial
        return None

    def judge(self, trial: Trial, epoch: int, value: float) -> bool:
        """An epoch of a trial is done; whether it goes on."""
        if epoch > len(trial.values):
            trial.values.append(value)
            trial.deaths = 0  # it got further than the last time
        self._count_time(trial)
        self.folder.save(trial)
        if epoch >= self.recipe_of(trial).training.epochs:
            return True  # it has nearly come to its end
        if self.proposals.lags(trial.number, epoch, value):
            self.lagging.add(trial.number)
            return False
        return self.seconds_left != 0.0

    def _copy(self, trial: Trial, twin: Trial) -> None:
        """The same recipe from the same seed has the same value."""
        trial.twin, trial.values = twin.number, list(twin.values)
        for epoch, value in enumerate(trial.values, start=1):
            self.proposals.lags(trial.number, epoch, value)
        if twin.state == "pruned":
            self.lagging.add(trial.number)
        self.finish(trial, {"value": twin.value} if twin.state == "complete" else {})

    def recipe_of(self, trial: Trial) -> Recipe:
        """What a trial trains."""
        return changed(self.recipe, trial.fields)

    def finish(self, trial: Trial, outcome: Outcome) -> None:
        """A trial has ended, for good or because the time is over."""
        self._count_time(trial)
        self.since.pop(trial.number, None)
        if "value" in outcome:
            trial.state, trial.value = "complete", outcome["value"]
        elif "error" in outcome:
            trial.state, trial.error = "failed", outcome["error"]
        elif trial.number in self.lagging:
            trial.state, trial.value = "pruned", max(trial.values)
        if trial.finished:
            self.proposals.tell(trial)
            self.bar.line(self._line(trial))
        self.folder.save(trial)
        if trial.finished and self.best is not None:
            self._tidy()
            self.result()

    def release(self) -> None:
        """Nothing is under way any more; what was can be taken up again."""
        for trial in self.trials:
            if trial.number in self.since:
                self.finish(trial, {})

    def died(self, trial: Trial) -> None:
        """The process of a trial is gone: it waits to be taken up again."""
        self._count_time(trial)
        del self.since[trial.number]
        trial.deaths += 1
        self.folder.save(trial)

    @property
    def best(self) -> Trial | None:
        """The best trial so far, the first of equals."""
        complete = [trial for trial in self.trials if trial.state == "complete"]
        return max(complete, key=lambda trial: trial.value or 0.0, default=None)

    def result(self) -> Search:
        """What was found, written down too."""
        best = self.best
        if best is None:
            errors = [trial.error for trial in self.trials if trial.error]
            why = (
                f"({len(errors)} failed, the last by {errors[-1]}); search where recipes can be trained"
                if errors
                else "(the time was over before); type the same again to go on"
            )
            raise ConfigError(f"no trial in {self.folder.path} came to its end {why}")
        importance, note = self.proposals.importance(self.trials)
        found = Search(self.metric, self.recipe_of(best), best, self.trials, importance, note)
        self.folder.write(found)
        return found

    def _count_time(self, trial: Trial) -> None:
        now = time.monotonic()
        trial.seconds = round(trial.seconds + now - self.since.get(trial.number, now), 3)
        self.since[trial.number] = now

    def _tidy(self) -> None:
        """Large weights of many trials would fill the disk."""
        if self.search.keep == "best":
            for other in self.trials:
                if other.finished and other is not self.best:
                    self.folder.drop_weights(other)

    def _line(self, trial: Trial) -> str:
        how = f"{self.metric} {trial.value:.4f}" if trial.value is not None else trial.error or ""
        mark = " (best)" if trial is self.best else f" ({trial.state})" if trial.state != "complete" else ""
        done = sum(other.finished for other in self.trials)
        took = f"as trial {trial.twin}" if trial.twin else f"{trial.seconds:.0f} s"
        return (
            f"trial {trial.number}, {done} of {max(self.wanted, done)} done  valid {how}{mark}  "
            f"{show_fields(trial.fields)}  {took}"
        )

    def _show(self) -> None:
        best = f"best {self.metric} {self.best.value:.4f}  " if self.best else ""
        done = sum(trial.finished for trial in self.trials)
        under_way = ", ".join(str(number) for number in sorted(self.since))
        self.bar.update(done, f"{best}trial {under_way} under way")


def _run_here(work: _Work, dataset: SequenceDataset) -> None:
    """One trial after the other, in this process."""
    while (trial := work.take()) is not None:
        taken = trial

        def judge(epoch: int, value: float, taken: Trial = taken) -> bool:
            return work.judge(taken, epoch, value)

        out = work.folder.run(trial.number).path
        work.finish(trial, run_trial(work.recipe_of(trial), dataset, out, work.options, judge))


def _run_apart(work: _Work, dataset: SequenceDataset, count: int) -> None:
    """Several trials at a time, each in a process."""
    crew = [Worker(work.options.threads) for _ in range(count)]
    busy: dict[Worker, Trial] = {}
    try:
        while work.seconds_left != 0.0:
            for worker in [worker for worker in crew if worker not in busy]:
                if (trial := work.take()) is not None:
                    worker.send(_job(work, trial, dataset))
                    busy[worker] = trial
            if not busy:
                return
            for worker in wait_for(busy, work.seconds_left):
                message = worker.read()
                if message is None:
                    work.died(busy.pop(worker))
                    worker.stop()
                    crew[crew.index(worker)] = Worker(work.options.threads)
                elif "epoch" in message:
                    worker.send({"go": work.judge(busy[worker], message["epoch"], message["value"])})
                elif "bug" in message:
                    raise RuntimeError(f"trial {busy[worker].number} met a bug:\n{message['bug']}")
                else:
                    work.finish(busy.pop(worker), message)
    finally:
        for worker in crew:
            worker.stop()


def _job(work: _Work, trial: Trial, dataset: SequenceDataset) -> Message:
    assert dataset.path is not None
    return {
        "recipe": to_dict(work.recipe_of(trial)),
        "options": to_dict(work.options),
        "dataset": str(dataset.path.resolve()),
        "out": str(work.folder.run(trial.number).path.resolve()),
    }
