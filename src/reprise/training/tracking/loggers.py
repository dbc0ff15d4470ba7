"""Tracking tools as Fabric loggers: TensorBoard, MLflow and Weights & Biases.

Files go to the run directory unless the environment variables of the tool say otherwise. `callbacks.EpochLog` calls them.
"""

import importlib.util
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import Logger
from lightning_fabric.loggers.tensorboard import TensorBoardLogger

from reprise.errors import ConfigError
from reprise.training.recipe import RunOptions
from reprise.training.tracking.callbacks import read_logger_states

PROJECT = "reprise"
"""Default experiment of MLflow and default project of Weights & Biases."""


def loggers_for(options: RunOptions, run: Path) -> list[Logger]:
    """Return the Fabric loggers of a run. They create nothing before their first epoch.

    Raises:
        ConfigError: The package of the logger is not installed.
    """
    kind = options.logger
    if kind == "none":
        return []
    if importlib.util.find_spec(kind) is None:
        raise ConfigError(f'logging to {kind} needs {kind}: pip install "reprise[{kind}]"')
    if kind == "tensorboard":
        return [_TensorBoard(root_dir=run / kind, name="", version="")]
    run_id = read_logger_states(run).get(kind, {}).get("id")
    return [_MLflow(run, run_id) if kind == "mlflow" else _Wandb(run, run_id)]


class _TensorBoard(TensorBoardLogger):
    """TensorBoard, with the hyper-parameters written together with the first metrics.

    Its table of runs shows hyper-parameters only if both are in the same entry.
    """

    _hyper_parameters: dict[str, Any] | None = None

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        self._hyper_parameters = params

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        hyper_parameters, self._hyper_parameters = self._hyper_parameters, None
        if hyper_parameters:
            super().log_hyperparams(hyper_parameters, dict(metrics), step)
        else:
            super().log_metrics(metrics, step)


class _MLflow(Logger):
    """MLflow. `MLFLOW_TRACKING_URI` names a server; by default files go to `RUN/mlruns`."""

    def __init__(self, run: Path, run_id: str | None) -> None:
        self.run = run
        self._id = run_id
        self._opened_client: Any = None

    @property
    def name(self) -> str:
        return os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)

    @property
    def version(self) -> str | None:
        return self._id

    @property
    def _client(self) -> Any:
        if self._opened_client is None:
            # allow local files without a warning, and send no usage data
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
            from mlflow import MlflowClient

            local = f"file:{(self.run / 'mlruns').resolve()}"
            self._opened_client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or local)
            if self._id:
                self._opened_client.update_run(self._id, status="RUNNING")
            else:
                created = self._opened_client.create_run(self._experiment(), run_name=self.run.name)
                self._id = created.info.run_id
        return self._opened_client

    def _experiment(self) -> str:
        found = self._opened_client.get_experiment_by_name(self.name)
        return str(found.experiment_id if found else self._opened_client.create_experiment(self.name))

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
        if self._opened_client is not None:
            self._opened_client.set_terminated(self._id, "FINISHED" if status == "success" else "FAILED")


class _Wandb(Logger):
    """Weights & Biases, offline unless `WANDB_MODE` says otherwise; `wandb sync` uploads the run later."""

    def __init__(self, run: Path, run_id: str | None) -> None:
        self.run = run
        self._id = run_id or uuid.uuid4().hex[:8]
        self._opened_run: Any = None
        self._owns_service = False

    @property
    def name(self) -> str:
        return os.environ.get("WANDB_PROJECT", PROJECT)

    @property
    def version(self) -> str:
        return self._id

    @property
    def _wandb_run(self) -> Any:
        if self._opened_run is None:
            import wandb

            self._owns_service = wandb.run is None
            self._opened_run = wandb.init(
                project=self.name,
                name=self.run.name,
                id=self._id,
                resume="allow",
                dir=os.environ.get("WANDB_DIR") or str(self.run),
                mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
                # a new run: one that the caller has opened stays untouched
                settings=wandb.Settings(silent=True, console="off", reinit="create_new"),
            )
        return self._opened_run

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        self._wandb_run.config.update(params, allow_val_change=True)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._wandb_run.log(dict(metrics), step=step)

    def finalize(self, status: str) -> None:
        if self._opened_run is None:
            return
        import wandb

        self._opened_run.finish(exit_code=0 if status == "success" else 1)
        if self._owns_service:
            wandb.teardown()  # ends the background process too
