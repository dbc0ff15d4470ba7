"""Optuna's part in a search: what to try next, what to end early, and which fields mattered.

The study lives in memory and is made anew from the trials on disk. All chance of a proposal comes from the seed and the
trial's number, so that a search that was stopped goes on with the trials it would have had.
"""

import logging
import warnings
from typing import Any

import numpy as np

from reprise.errors import ConfigError
from reprise.training.tuning.search_directory import FEW, Trial
from reprise.training.tuning.search_space import Choices, Space, label

LEAST = 5
"""Trials below which nothing is said about the importance of a field."""


class OptunaStudy:
    """A study of one search: proposals for a space, from a seed."""

    def __init__(self, space: Space, seed: int, pruner: str, epochs: int) -> None:
        self.space = space
        self.seed = seed
        self.optuna = _optuna()
        self.distributions = {field: self._distribution(part) for field, part in space.items()}
        pruners = self.optuna.pruners
        made = {
            "median": lambda: pruners.MedianPruner(),
            "hyperband": lambda: pruners.HyperbandPruner(max_resource=epochs),
            "none": lambda: pruners.NopPruner(),
        }
        self.study = self._study(made[pruner]())
        self._asked: dict[int, Any] = {}

    def recall(self, trial: Trial) -> None:
        """A trial of before: what came of it; or that it is the next to be asked for."""
        if not trial.finished:
            self.study.enqueue_trial(self._labels(trial.fields))
        else:
            self.study.add_trial(self._frozen(trial, {"complete": "COMPLETE", "pruned": "PRUNED"}))

    def ask(self, number: int) -> dict[str, Any]:
        """The fields of a trial. Numbers follow each other."""
        if number not in self._asked:
            seed = np.random.SeedSequence((self.seed, number)).generate_state(1)[0]
            self.study.sampler = self.optuna.samplers.TPESampler(seed=int(seed))
            self._asked[number] = self.study.ask(self.distributions)
            assert self._asked[number].number == number - 1
        proposed = self._asked[number].params
        return {field: self._value(field, proposed[field]) for field in self.space}

    def lags(self, number: int, epoch: int, value: float) -> bool:
        """Whether a trial is to end after an epoch. One that is repeated, after its process died, is judged anew."""
        asked = self._asked[number]
        if epoch not in self.study.trials[number - 1].intermediate_values:
            asked.report(value, epoch)
        return bool(asked.should_prune())

    def tell(self, trial: Trial) -> None:
        """What came of a trial."""
        state = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}[trial.state]
        value = trial.value if trial.state == "complete" else None
        self.study.tell(self._asked[trial.number], value, state=self.optuna.trial.TrialState[state])

    def importance(self, trials: list[Trial]) -> tuple[dict[str, float], str]:
        """The share of each field, and how that was found, for the trials so far."""
        judged = [trial for trial in trials if trial.finished and trial.value is not None]
        if len(judged) < LEAST:
            return {}, f"{len(judged)} trials are too few to say which fields matter ({LEAST} at least)"
        study = self._study(self.optuna.pruners.NopPruner())
        for trial in judged:
            # a pruned one counts by its best epoch: all that is asked is which trials are the best
            study.add_trial(self._frozen(trial, {"complete": "COMPLETE", "pruned": "COMPLETE"}))
        share = min(0.5, max(0.1, LEAST / len(judged)))
        evaluator = self.optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on few trials; the note says it
            found = self.optuna.importance.get_param_importances(study, evaluator=evaluator)
        note = f"importance by PED-ANOVA: how the best {share:.0%} of {len(judged)} trials differ from all"
        few = f"; of fewer than {FEW} trials it is a hint" if len(judged) < FEW else ""
        return {field: round(float(value), 4) for field, value in found.items()}, note + few

    def _study(self, pruner: Any) -> Any:
        return self.optuna.create_study(direction="maximize", pruner=pruner, study_name="reprise")

    def _distribution(self, part: Any) -> Any:
        kinds = self.optuna.distributions
        if isinstance(part, Choices):
            return kinds.CategoricalDistribution([label(value) for value in part.values])
        if part.whole:
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


def _optuna() -> Any:
    """Optuna, which says nothing of its own accord."""
    try:
        import optuna
    except ImportError:
        raise ConfigError('tuning needs optuna: pip install "reprise[tune]"') from None
    logging.getLogger("optuna").setLevel(logging.WARNING)
    return optuna
