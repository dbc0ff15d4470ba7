"""The Optuna study of a search: proposals, pruning and the importance of fields.

The study is in memory and is rebuilt from the trials on disk. The random numbers of each proposal depend on the seed and the
number of the trial only, so that a search that was interrupted continues with the same proposals.
"""

import logging
import warnings
from typing import Any

import numpy as np

from reprise.errors import ConfigError
from reprise.training.tuning.search_directory import FEW_TRIALS, Trial
from reprise.training.tuning.search_space import Choices, Space, label

MIN_TRIALS = 5
"""Minimum number of trials for an estimate of the importance of fields."""


class OptunaStudy:
    """An Optuna study that proposes trials for a search space.

    Args:
        space: The fields to search.
        seed: Seed of the proposals.
        pruner: `median`, `hyperband` or `none`.
        epochs: Number of epochs of a trial.
    """

    def __init__(self, space: Space, seed: int, pruner: str, epochs: int) -> None:
        self.space = space
        self.seed = seed
        self.optuna = _import_optuna()
        self.distributions = {field: self._distribution(part) for field, part in space.items()}
        pruners = self.optuna.pruners
        make_pruner = {
            "median": lambda: pruners.MedianPruner(),
            "hyperband": lambda: pruners.HyperbandPruner(max_resource=epochs),
            "none": lambda: pruners.NopPruner(),
        }
        self.study = self._create_study(make_pruner[pruner]())
        self._proposed: dict[int, Any] = {}

    def add(self, trial: Trial) -> None:
        """Add a trial from disk: its result if it is finished, else its fields as the next proposal."""
        if not trial.finished:
            self.study.enqueue_trial(self._labels(trial.fields))
        else:
            self.study.add_trial(self._frozen(trial, {"complete": "COMPLETE", "pruned": "PRUNED"}))

    def propose(self, number: int) -> dict[str, Any]:
        """Return the fields of trial `number`. Trials must be proposed in order; a repeated call returns the same."""
        if number not in self._proposed:
            seed = np.random.SeedSequence((self.seed, number)).generate_state(1)[0]
            self.study.sampler = self.optuna.samplers.TPESampler(seed=int(seed))
            self._proposed[number] = self.study.ask(self.distributions)
            assert self._proposed[number].number == number - 1
        params = self._proposed[number].params
        return {field: self._value(field, params[field]) for field in self.space}

    def should_prune(self, number: int, epoch: int, value: float) -> bool:
        """Report the metric of an epoch and return whether the trial ends here.

        A trial that is repeated after its process died reports no epoch twice.
        """
        proposed = self._proposed[number]
        if epoch not in self.study.trials[number - 1].intermediate_values:
            proposed.report(value, epoch)
        return bool(proposed.should_prune())

    def record(self, trial: Trial) -> None:
        """Record the result of a proposed trial."""
        state = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}[trial.state]
        value = trial.value if trial.state == "complete" else None
        self.study.tell(self._proposed[trial.number], value, state=self.optuna.trial.TrialState[state])

    def importance(self, trials: list[Trial]) -> tuple[dict[str, float], str]:
        """Return the importance of each field and a note on how it was estimated."""
        evaluated = [trial for trial in trials if trial.finished and trial.value is not None]
        if len(evaluated) < MIN_TRIALS:
            return (
                {},
                f"{len(evaluated)} trials are too few to estimate which fields matter (minimum {MIN_TRIALS})",
            )
        study = self._create_study(self.optuna.pruners.NopPruner())
        for trial in evaluated:
            # a pruned trial counts with its best epoch, because the estimate needs only the set of the best trials
            study.add_trial(self._frozen(trial, {"complete": "COMPLETE", "pruned": "COMPLETE"}))
        share = min(0.5, max(0.1, MIN_TRIALS / len(evaluated)))
        evaluator = self.optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the note says that trials are few
            found = self.optuna.importance.get_param_importances(study, evaluator=evaluator)
        note = f"importance by PED-ANOVA, the best {share:.0%} of {len(evaluated)} trials compared with all of them"
        few = (
            f"; with fewer than {FEW_TRIALS} trials it is only a hint" if len(evaluated) < FEW_TRIALS else ""
        )
        return {field: round(float(value), 4) for field, value in found.items()}, note + few

    def _create_study(self, pruner: Any) -> Any:
        return self.optuna.create_study(direction="maximize", pruner=pruner, study_name="reprise")

    def _distribution(self, part: Any) -> Any:
        kinds = self.optuna.distributions
        if isinstance(part, Choices):
            return kinds.CategoricalDistribution([label(value) for value in part.values])
        if part.is_integer:
            return kinds.IntDistribution(part.low, part.high, log=part.log, step=part.step or 1)
        return kinds.FloatDistribution(part.low, part.high, log=part.log, step=part.step)

    def _frozen(self, trial: Trial, states: dict[str, str]) -> Any:
        state = states.get(trial.state, "FAIL")
        return self.optuna.trial.create_trial(
            state=self.optuna.trial.TrialState[state],
            value=trial.value if state == "COMPLETE" else None,
            params=self._labels(trial.fields),
            distributions=self.distributions,
            intermediate_values=dict(enumerate(trial.values, start=1)),
        )

    def _labels(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {field: label(value) for field, value in fields.items()}

    def _value(self, field: str, proposed: Any) -> Any:
        part = self.space[field]
        if isinstance(part, Choices):
            return next(value for value in part.values if label(value) == proposed)
        return proposed


def _import_optuna() -> Any:
    """Import Optuna and silence its log messages."""
    try:
        import optuna
    except ImportError:
        raise ConfigError('tuning needs optuna: pip install "reprise[tune]"') from None
    logging.getLogger("optuna").setLevel(logging.WARNING)
    return optuna
