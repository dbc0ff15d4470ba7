"""Hyper-parameter search: Optuna proposes recipes, and trials train and evaluate them on the validation part.

The state of a search is in the files of its trials, so that a search that was killed at any time can be resumed.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reprise.argument_checks import file_path, instance, shown, whole
from reprise.config import to_dict
from reprise.data.dataset import SequenceDataset
from reprise.data.leakage.checks import check_leaks
from reprise.errors import ConfigError
from reprise.progress import JobsProgress
from reprise.training.parallel.worker_pool import WorkerPool, check_not_distributed, check_workers
from reprise.training.parallel.worker_process import Message
from reprise.training.private.refusals import check_not_private
from reprise.training.recipe import Recipe, RunOptions, recipe_for
from reprise.training.tuning.optuna_study import OptunaStudy
from reprise.training.tuning.search_directory import (
    FORMAT,
    Search,
    SearchDirectory,
    SearchOptions,
    Trial,
    format_fields,
)
from reprise.training.tuning.search_space import (
    default_space,
    parse_space,
    plain_space,
    resolve_space,
    with_values,
)
from reprise.training.tuning.trial import Outcome, run_trial, run_trial_job
from reprise.training.validation import Validation

MAX_CRASHES = 3
"""Number of crashes in a row after which a trial fails."""


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
    """Search for the recipe with the best `training.metric` on the validation part, or resume a search.

    Args:
        model: The spec of a network or of a model that is fitted by counting (`fit`), or a whole `Recipe`.
        dataset: Trials train on the training part and are compared on the validation part. Only the leakage check reads the
            test part.
        out: Directory of the search. The same call resumes a search that was interrupted; with more trials, also one that is
            finished.
        space: Choices or a range by dotted field: `{"model.size": [32, 64], "training.learning_rate": "1e-3..1e-2:log"}`.
            None: the common fields of the model.
        trials: Total number of trials.
        workers: Number of processes that run trials in parallel. With one, the same seed gives the same trials. With more,
            the proposals depend on which trial is finished first; the value of a recipe does not.
        options: Seed, device, precision, and threads of each trial (by default one).
        search: Options that are rarely changed.

    Raises:
        ConfigError: A field is unknown or a value invalid, the directory holds another search, or all trials failed.
        DataError: The dataset leaks, or its validation part has no target.
    """
    check_not_distributed("a search")
    recipe = recipe_for(model, dataset)
    check_not_private(recipe, "tune")
    options = instance(
        "options", RunOptions() if options is None else options, RunOptions, "write RunOptions(...)"
    )
    search = SearchOptions() if search is None else search
    instance("search", search, SearchOptions, "write SearchOptions(...)")
    if options.workers > 1:
        raise ConfigError("the processes of a search are its argument `workers`, not a field of `options`")
    options = replace(options, threads=options.threads or 1)
    _check(recipe, dataset, trials, workers)
    if space is not None and not isinstance(space, Mapping):
        raise ConfigError(f"space must be a dict of fields and their values, got {shown(space)}")
    resolved = resolve_space(parse_space(space) if space else default_space(recipe), recipe, dataset.sizes)
    study = OptunaStudy(resolved, options.seed, search.pruner, recipe.training.epochs)
    directory = SearchDirectory(file_path("out", out))
    manifest = {
        "format": FORMAT,
        "recipe": to_dict(recipe),
        "space": plain_space(resolved),
        "seed": options.seed,
        "pruner": search.pruner,
        "fingerprint": dataset.fingerprint,
    }
    # before the lock, which would leave its file in a directory of another kind
    directory.check(manifest, recipe)
    with directory.locked(), JobsProgress(search.progress, trials) as bar:
        directory.check(manifest, recipe)  # another process may have begun a search meanwhile
        directory.begin(manifest, dataset)
        schedule = _TrialSchedule(directory, recipe, options, study, search, trials, bar)
        try:
            if workers == 1:
                _run_in_process(schedule, dataset)
            else:
                _run_in_workers(schedule, dataset, min(workers, trials))
        finally:
            schedule.release()
        return schedule.result()


def _check(recipe: Recipe, dataset: SequenceDataset, trials: int, workers: int) -> None:
    if not (hasattr(recipe.model, "build") or hasattr(recipe.model, "fit")):
        raise ConfigError(
            f"model must be a spec with `build` or `fit`, such as Recurrent(), got {recipe.model!r}"
        )
    for name, number in (("trials", trials), ("workers", workers)):
        whole(name, number)
    check_workers(workers, dataset)
    check_leaks(dataset)  # once here, not in each trial
    Validation(recipe.training, dataset)  # raises if the metric or the validation part cannot be used


class _TrialSchedule:
    """The trials of a search: which trial is next, and the result of each."""

    def __init__(
        self,
        directory: SearchDirectory,
        recipe: Recipe,
        options: RunOptions,
        study: OptunaStudy,
        search: SearchOptions,
        total: int,
        bar: JobsProgress,
    ) -> None:
        self.directory, self.recipe, self.options, self.study = directory, recipe, options, study
        self.search, self.total, self.bar = search, total, bar
        self.trials = directory.trials(recipe)
        self.running: dict[int, float] = {}
        """Number of each running trial, and since when its time is counted."""
        self.pruned: set[int] = set()
        """Numbers of the trials that the study has pruned."""
        self.started = time.monotonic()
        for trial in self.trials:
            study.add(trial)

    @property
    def metric(self) -> str:
        return self.recipe.training.metric

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the time limit, or None without a limit."""
        if self.search.timeout_s is None:
            return None
        return max(0.0, self.started + self.search.timeout_s - time.monotonic())

    def next_trial(self) -> Trial | None:
        """Return the next trial to run: one that was interrupted, or a new one; None if there are enough."""
        while self.seconds_left != 0.0:
            waiting = [t for t in self.trials if not t.finished and t.number not in self.running]
            if not waiting and len(self.trials) >= self.total:
                return None
            trial = waiting[0] if waiting else Trial(len(self.trials) + 1, {})
            trial.fields = self.study.propose(trial.number)
            if not waiting:
                self.trials.append(trial)
            duplicate = next(
                (t for t in self.trials if t.value is not None and t.fields == trial.fields), None
            )
            if duplicate is not None:
                self._copy(duplicate, trial)
            elif trial.crashes >= MAX_CRASHES:
                message = f"its process died {trial.crashes} times; check that there is enough memory"
                self.finish(trial, {"error": message})
            else:
                self.running[trial.number] = time.monotonic()
                self.directory.save(trial)
                self._show()
                return trial
        return None

    def decide(self, trial: Trial, epoch: int, value: float) -> bool:
        """Record the metric of an epoch and return whether the trial continues."""
        if epoch > len(trial.values):
            trial.values.append(value)
            trial.crashes = 0  # the trial got further than before its last crash
        self._count_time(trial)
        self.directory.save(trial)
        if epoch >= self.recipe_of(trial).training.epochs:
            return True  # pruning would save nothing after the last epoch
        if self.study.should_prune(trial.number, epoch, value):
            self.pruned.add(trial.number)
            return False
        return self.seconds_left != 0.0

    def _copy(self, source: Trial, trial: Trial) -> None:
        """Copy the result of a trial with the same fields: the same recipe and seed give the same value."""
        trial.duplicate_of, trial.values = source.number, list(source.values)
        for epoch, value in enumerate(trial.values, start=1):
            self.study.should_prune(trial.number, epoch, value)
        if source.state == "pruned":
            self.pruned.add(trial.number)
        self.finish(trial, {"value": source.value} if source.state == "complete" else {})

    def recipe_of(self, trial: Trial) -> Recipe:
        """Return the recipe with the fields of a trial."""
        return with_values(self.recipe, trial.fields)

    def finish(self, trial: Trial, outcome: Outcome) -> None:
        """Record the outcome of a trial. One that was only interrupted stays in the state `running`."""
        self._count_time(trial)
        self.running.pop(trial.number, None)
        if "value" in outcome:
            trial.state, trial.value = "complete", outcome["value"]
        elif "error" in outcome:
            trial.state, trial.error = "failed", outcome["error"]
        elif trial.number in self.pruned:
            trial.state, trial.value = "pruned", max(trial.values)
        if trial.finished:
            self.study.record(trial)
            self.bar.line(self._line(trial))
        self.directory.save(trial)
        if trial.finished and self.best is not None:
            self._drop_weights()
            self.result()

    def release(self) -> None:
        """Mark all running trials as interrupted, so that they can be resumed."""
        for trial in self.trials:
            if trial.number in self.running:
                self.finish(trial, {})

    def crashed(self, trial: Trial) -> None:
        """Record that the process of a trial died. The trial waits to be resumed."""
        self._count_time(trial)
        del self.running[trial.number]
        trial.crashes += 1
        self.directory.save(trial)

    @property
    def best(self) -> Trial | None:
        """The complete trial with the best value; of equal ones the first."""
        complete = [trial for trial in self.trials if trial.state == "complete"]
        return max(complete, key=lambda trial: trial.value or 0.0, default=None)

    def result(self) -> Search:
        """Write the result of the search and return it.

        Raises:
            ConfigError: No trial is complete.
        """
        best = self.best
        if best is None:
            errors = [trial.error for trial in self.trials if trial.error]
            why = (
                f"{len(errors)} failed, the last with {errors[-1]}; search a space whose recipes can be trained"
                if errors
                else "the time limit was reached; run the same command again to resume"
            )
            raise ConfigError(f"no trial in {self.directory.path} is complete: {why}")
        importance, note = self.study.importance(self.trials)
        found = Search(self.metric, self.recipe_of(best), best, self.trials, importance, note)
        self.directory.write(found)
        return found

    def _count_time(self, trial: Trial) -> None:
        now = time.monotonic()
        trial.seconds = round(trial.seconds + now - self.running.get(trial.number, now), 3)
        self.running[trial.number] = now

    def _drop_weights(self) -> None:
        """Delete the weights of all finished trials except the best, which could fill the disk."""
        if self.search.keep == "best":
            for other in self.trials:
                if other.finished and other is not self.best:
                    self.directory.drop_weights(other)

    def _line(self, trial: Trial) -> str:
        result = f"{self.metric} {trial.value:.4f}" if trial.value is not None else trial.error or ""
        mark = " (best)" if trial is self.best else f" ({trial.state})" if trial.state != "complete" else ""
        done = sum(other.finished for other in self.trials)
        took = f"same as trial {trial.duplicate_of}" if trial.duplicate_of else f"{trial.seconds:.0f} s"
        return (
            f"trial {trial.number}, {done} of {max(self.total, done)} done  valid {result}{mark}  "
            f"{format_fields(trial.fields)}  {took}"
        )

    def _show(self) -> None:
        best = f"best {self.metric} {self.best.value:.4f}  " if self.best else ""
        done = sum(trial.finished for trial in self.trials)
        running = ", ".join(str(number) for number in sorted(self.running))
        self.bar.update(done, f"{best}running trial {running}")


def _run_in_process(schedule: _TrialSchedule, dataset: SequenceDataset) -> None:
    """Run one trial after the other in this process."""
    while (trial := schedule.next_trial()) is not None:
        current = trial

        def decide(epoch: int, value: float, current: Trial = current) -> bool:
            return schedule.decide(current, epoch, value)

        out = schedule.directory.run(trial.number).path
        schedule.finish(trial, run_trial(schedule.recipe_of(trial), dataset, out, schedule.options, decide))


def _run_in_workers(schedule: _TrialSchedule, dataset: SequenceDataset, count: int) -> None:
    """Run trials in `count` worker processes."""
    running: dict[int, Trial] = {}
    with WorkerPool(run_trial_job, count, schedule.options.threads) as pool:
        while schedule.seconds_left != 0.0:
            while pool.is_free and (trial := schedule.next_trial()) is not None:
                running[trial.number] = trial
                pool.start(trial.number, f"trial {trial.number}", _job(schedule, trial, dataset))
            if not running:
                return
            report = pool.next_report(schedule.seconds_left)
            if report is None:
                continue
            if report.death:
                schedule.crashed(running.pop(report.number))
            elif report.is_result:
                schedule.finish(running.pop(report.number), report.message)
            else:
                epoch, value = report.message["epoch"], report.message["value"]
                decision = schedule.decide(running[report.number], epoch, value)
                pool.send(report.number, {"go": decision})


def _job(schedule: _TrialSchedule, trial: Trial, dataset: SequenceDataset) -> Message:
    assert dataset.path is not None
    return {
        "recipe": to_dict(schedule.recipe_of(trial)),
        "options": to_dict(schedule.options),
        "dataset": str(dataset.path.resolve()),
        "out": str(schedule.directory.run(trial.number).path.resolve()),
    }
