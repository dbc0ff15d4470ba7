"""The model on the workers: read from a path that they share, or from an archive that Spark sends, once a process."""

import atexit
import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from reprise.errors import ArtefactError, ConfigError
from reprise.recommender.recommender import Recommender

if TYPE_CHECKING:
    from pyspark import SparkContext

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class WorkerModel:
    """Where workers find a saved model, and which one it is."""

    location: str
    """Path of the model, or the name of the archive."""
    archive: bool
    """Whether Spark sends the model as an archive."""
    digest: str
    """SHA-256 of the manifest, which has the checksums of all other files."""

    @classmethod
    def at_path(cls, path: Path) -> "WorkerModel":
        """Return the model at a path that all workers share."""
        return cls(str(path.absolute()), False, _digest(path))

    @classmethod
    def sent(cls, recommender: Recommender, context: "SparkContext") -> "WorkerModel":
        """Send a model to all workers. Its archive is kept until this process ends, because late workers fetch it too."""
        folder = Path(tempfile.mkdtemp(prefix="reprise-spark-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        recommender.save(folder / "model")
        digest = _digest(folder / "model")
        archive = shutil.make_archive(str(folder / f"reprise-model-{digest[:16]}"), "zip", folder / "model")
        context.addArchive(archive)
        return cls(Path(archive).name, True, digest)

    def load(self) -> Recommender:
        """Return the recommender of this process, loaded and verified by the first call.

        Raises:
            ConfigError: The worker does not find the model.
            ArtefactError: It is another model than that of the driver, or damaged.
        """
        return _load(self)


@lru_cache(maxsize=1)
def _load(model: WorkerModel) -> Recommender:
    if model.archive:
        from pyspark import SparkFiles

        path = Path(SparkFiles.get(model.location))
    else:
        path = Path(model.location)
    if not (path / MANIFEST).is_file():
        raise ConfigError(
            f"a worker of Spark does not find the model {str(path)!r}; put it on a path that all workers share, or send it "
            "(send_model=True, --send-model)"
        )
    if _digest(path) != model.digest:
        raise ArtefactError(
            f"the model {str(path)!r} on a worker of Spark is not that of the driver; copy the same model to all machines, or "
            "send it (send_model=True, --send-model)"
        )
    return Recommender.load(path)


def _digest(path: Path) -> str:
    return hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
