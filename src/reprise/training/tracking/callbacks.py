"""Callbacks after each epoch: the caller's function, and the log of a tracking tool.

`logger.json` in the run directory holds the last epoch that each tool received, so that a resumed run sends no epoch twice.
"""

import json
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lightning_fabric import Fabric

from reprise.atomic_files import write_text
from reprise.training.run_directory import LOGGER
from reprise.training.validation import VALID

EpochCallback = Callable[[dict[str, Any]], None]
"""Function called with the record of each epoch after its checkpoint is written. It may raise `StopTraining`.

A resumed run calls it for the epochs before the interruption too."""
LOGGER_STATE = "logger.json"
_LOGGED = ("loss", "events_per_s", "seconds")
LoggerState = dict[str, Any]
"""State of one tool in `logger.json`: `epochs`, the last epoch it received, and `id`, its own id of the run."""


class StopTraining(Exception):  # noqa: N818 - a signal, not an error
    """Exception that an `EpochCallback` raises to stop the training. The run can be resumed later."""


class EpochLog:
    """Sends each epoch of a run to a tracking tool exactly once, however often the run is resumed.

    Use it as a context manager. A tool that raises causes one warning, and training continues without it.
    """

    def __init__(self, fabric: Fabric, kind: str, run: Path, hyper_parameters: Mapping[str, Any]) -> None:
        self.fabric = fabric
        self.kind = kind
        self.run = run
        self.hyper_parameters = hyper_parameters
        """Hyper-parameters by dotted name."""
        self.disabled = kind == "none"
        self.has_sent = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.has_sent and self.disabled:
            with suppress(Exception):  # the warning about this tool was already given
                self._logger.finalize("failed")
        elif self.has_sent:
            succeeded = kind is None or issubclass(kind, StopTraining)
            self._try(lambda: self._logger.finalize("success" if succeeded else "failed"))

    def __call__(self, record: Mapping[str, Any], learning_rate: float) -> None:
        """Send the record of an epoch and the learning rate at its end."""
        if not self.disabled:
            self._try(lambda: self._send(record, learning_rate))

    @property
    def _logger(self) -> Any:
        return self.fabric.logger

    def _send(self, record: Mapping[str, Any], learning_rate: float) -> None:
        states = read_logger_states(self.run)
        state = states.get(self.kind, {})
        if record["epoch"] <= state.get("epochs", 0):
            return
        self.has_sent = True
        if not state:
            self._logger.log_hyperparams(dict(self.hyper_parameters))
        self.fabric.log_dict(_metrics(record, learning_rate), step=record["epoch"])
        self._logger.save()
        states[self.kind] = {"epochs": record["epoch"], "id": self._logger.version}
        write_text(self.run / LOGGER_STATE, json.dumps(states))

    def _try(self, action: Callable[[], None]) -> None:
        """Run an action of the tool. On any exception warn and disable the tool, so that training continues."""
        try:
            action()
        except Exception as error:
            self.disabled = True
            text = f"logging to {self.kind} failed ({type(error).__name__}: {error}); training goes on without it"
            LOGGER.info("%s", text)
            warnings.warn(text, stacklevel=2)


def read_logger_states(run: Path) -> dict[str, LoggerState]:
    """Return the state of each tracking tool by its name; empty if the file is missing or damaged."""
    try:
        states: dict[str, LoggerState] = json.loads((run / LOGGER_STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return states


def _metrics(record: Mapping[str, Any], learning_rate: float) -> dict[str, float]:
    """Return the numbers of an epoch under names that all tools accept (MLflow rejects `@`)."""
    metrics = {f"train/{name}": float(record[name]) for name in _LOGGED}
    metrics["train/learning_rate"] = learning_rate
    valid = {name.removeprefix(VALID): value for name, value in record.items() if name.startswith(VALID)}
    return metrics | {f"valid/{name.replace('@', '_')}": float(value) for name, value in valid.items()}
