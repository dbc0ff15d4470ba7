"""What other tools are told of a run, through Fabric: TensorBoard, MLflow and Weights & Biases.

Everything stays in the run directory unless the tool's own environment variables say otherwise. A logger that fails never
stops a training. `logger.json` says how many epochs each tool has been told, so that a resumed run tells none twice.
"""

import importlib.util
import json
import os
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lightning_fabric import Fabric
from lightning_fabric.loggers.logger import Logger
from lightning_fabric.loggers.tensorboard import TensorBoardLogger

from reprise.errors import ConfigError
from reprise.training.checkpoint import write_text
from reprise.training.recipe import RunOptions
from reprise.training.run_directory import LOGGER
from reprise.training.training_progress import Stopped
from reprise.training.validation import VALID

MARK = "logger.json"
PROJECT = "reprise"
"""The experiment of MLflow and the project of Weights & Biases, where their variables name none."""
_LOGGED = ("loss", "events_per_s", "seconds")
Mark = dict[str, Any]


def loggers_for(options: RunOptions, run: Path) -> list[Logger]:
    """The loggers for Fabric that the options ask for. They touch nothing before their first epoch.

    Raises:
        ConfigError: its package is not installed.
    """
    kind = options.logger
    if kind == "none":
        return []
    if importlib.util.find_spec(kind) is None:
        raise ConfigError(f'logging to {kind} needs {kind}: pip install "reprise[{kind}]"')
    if kind == "tensorboard":
        return [_TensorBoard(root_dir=run / kind, name="", version="")]
    known = _read_mark(run).get(kind, {}).get("id")
    return [_MLflow(run, known) if kind == "mlflow" else _Wandb(run, known)]


class EpochLog:
    """Tells the loggers of a run each epoch once, over all times it is resumed."""

    def __init__(self, fabric: Fabric, kind: str, run: Path, facts: Mapping[str, Any]) -> None:
        self.fabric = fabric
        self.kind = kind
        self.run = run
        self.facts = facts
        """Hyper-parameters, by dotted name."""
        self.silent = kind == "none"
        self.begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.begun and self.silent:
            with suppress(Exception):  # its warning was given
                self._logger.finalize("failed")
        elif self.begun:
            ended = kind is None or issubclass(kind, Stopped)
            self._try(lambda: self._logger.finalize("success" if ended else "failed"))

    def __call__(self, record: Mapping[str, Any], rate: float) -> None:
        """An epoch is done: its record, and the learning rate at its end."""
        if not self.silent:
            self._try(lambda: self._tell(record, rate))

    @property
    def _logger(self) -> Any:
        return self.fabric.logger

    def _tell(self, record: Mapping[str, Any], rate: float) -> None:
        marks = _read_mark(self.run)
        mark = marks.get(self.kind, {})
        if record["epoch"] <= mark.get("epochs", 0):
            return
        self.begun = True
        if not mark:
            self._logger.log_hyperparams(dict(self.facts))
        self.fabric.log_dict(_metrics(record, rate), step=record["epoch"])
        self._logger.save()
        marks[self.kind] = {"epochs": record["epoch"], "id": self._logger.version}
        write_text(self.run / MARK, json.dumps(marks))

    def _try(self, action: Callable[[], None]) -> None:
        """Whatever another tool raises, the network goes on learning."""
        try:
            action()
        except Exception as error:
            self.silent = True
            text = f"logging to {self.kind} failed ({type(error).__name__}: {error}); training goes on without it"
            LOGGER.info("%s", text)
            warnings.warn(text, stacklevel=2)


def _read_mark(run: Path) -> dict[str, Mark]:
    try:
        marks: dict[str, Mark] = json.loads((run / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return marks


def _metrics(record: Mapping[str, Any], rate: float) -> dict[str, float]:
    """The numbers of an epoch under names that all three tools take: MLflow knows no `@`."""
    told = {f"train/{name}": float(record[name]) for name in _LOGGED}
    told["train/learning_rate"] = rate
    valid = {name.removeprefix(VALID): value for name, value in record.items() if name.startswith(VALID)}
    return told | {f"valid/{name.replace('@', '_')}": float(value) for name, value in valid.items()}


class _TensorBoard(TensorBoardLogger):
    """Puts the hyper-parameters beside the metrics of the first epoch, where its table of runs looks for both."""

    _facts: dict[str, Any] | None = None

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        self._facts = params

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        facts, self._facts = self._facts, None
        if facts:
            super().log_hyperparams(facts, dict(metrics), step)
        else:
            super().log_metrics(metrics, step)


class _MLflow(Logger):
    """MLflow's client. `MLFLOW_TRACKING_URI` names a server; else files under `RUN/mlruns`."""

    def __init__(self, run: Path, known: str | None) -> None:
        self.run = run
        self._id = known
        self._made: Any = None

    @property
    def name(self) -> str:
        return os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)

    @property
    def version(self) -> str | None:
        return self._id

    @property
    def _client(self) -> Any:
        if self._made is None:
            # local files are meant, and nobody is to be told of it
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            from mlflow import MlflowClient

            here = f"file:{(self.run / 'mlruns').resolve()}"
            self._made = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or here)
            if self._id:
                self._made.update_run(self._id, status="RUNNING")
            else:
                self._id = self._made.create_run(self._experiment(), run_name=self.run.name).info.run_id
        return self._made

    def _experiment(self) -> str:
        found = self._made.get_experiment_by_name(self.name)
        return str(found.experiment_id if found else self._made.create_experiment(self.name))

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        from mlflow.entities import Param

        client = self._client
        client.log_batch(self._id, params=[Param(key, str(value)) for key, value in params.items()])

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        from mlflow.entities import Metric

        client, now_ms = self._client, int(time.time() * 1000)
        rows = [Metric(name, value, now_ms, step or 0) for name, value in metrics.items()]
        client.log_batch(self._id, metrics=rows)

    def finalize(self, status: str) -> None:
        if self._made is not None:
            self._made.set_terminated(self._id, "FINISHED" if status == "success" else "FAILED")


class _Wandb(Logger):
    """A run of Weights & Biases, without a network unless `WANDB_MODE` asks for one; `wandb sync` sends it later."""

    def __init__(self, run: Path, known: str | None) -> None:
        self.run = run
        self._id = known or uuid.uuid4().hex[:8]
        self._made: Any = None
        self._alone = False

    @property
    def name(self) -> str:
        return os.environ.get("WANDB_PROJECT", PROJECT)

    @property
    def version(self) -> str:
        return self._id

    @property
    def _wandb_run(self) -> Any:
        if self._made is None:
            import wandb

            self._alone = wandb.run is None
            self._made = wandb.init(
                project=self.name,
                name=self.run.name,
                id=self._id,
                resume="allow",
                dir=os.environ.get("WANDB_DIR") or str(self.run),
                mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
                # a run of the caller's own is none of ours
                settings=wandb.Settings(silent=True, console="off", reinit="create_new"),
            )
        return self._made

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        self._wandb_run.config.update(params, allow_val_change=True)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._wandb_run.log(dict(metrics), step=step)

    def finalize(self, status: str) -> None:
        if self._made is None:
            return
        import wandb

        self._made.finish(exit_code=0 if status == "success" else 1)
        if self._alone:
            wandb.teardown()  # its process in the background goes too
