"""One version of a model store, and the file that describes it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from reprise.errors import ArtefactError
from reprise.recommender.artefact.artefact import MANIFEST

DESCRIPTION = "version.json"
"""Name of the file that describes a version."""
MODEL = "model"
"""Name of the directory of the saved model."""


@dataclass(frozen=True)
class ModelVersion:
    """One version of a model."""

    name: str
    """Number of the version as text. A store counts upwards from 1 and uses no number twice."""
    directory: Path
    """Directory of the version."""
    published: datetime
    """Time of publication, in UTC."""
    manifest_sha256: str
    """SHA-256 of the manifest of the model. The manifest has the checksums of all other files."""
    note: str = ""
    """Text of the publisher."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values of the publisher, such as the result of a comparison with the version before."""

    @property
    def model(self) -> Path:
        """Directory of the saved model, for `Recommender.load`."""
        return self.directory / MODEL

    @property
    def bytes(self) -> int:
        """Size of the files of the model."""
        return sum(file.stat().st_size for file in self.model.rglob("*") if file.is_file())

    def check(self) -> None:
        """Check that the manifest of the model is the published one.

        Raises:
            ArtefactError: the manifest is missing or was changed.
        """
        try:
            found = manifest_checksum(self.model)
        except OSError as error:
            raise ArtefactError(
                f"version {self.name} in {self.directory.parent.parent} is damaged ({error.strerror}: {MANIFEST}); "
                "use another version"
            ) from None
        if found != self.manifest_sha256:
            raise ArtefactError(
                f"version {self.name} in {self.directory.parent.parent} was changed after its publication; "
                "use another version, or publish the model again"
            )

    def description(self) -> str:
        """Return the content of the file that describes the version."""
        content = {
            "published": self.published.isoformat(timespec="seconds"),
            "manifest_sha256": self.manifest_sha256,
            "note": self.note,
            "facts": dict(self.facts),
        }
        return json.dumps(content, indent=2) + "\n"

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read the description of a version.

        Raises:
            ArtefactError: the description is missing or damaged.
        """
        file = directory / DESCRIPTION
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            published = datetime.fromisoformat(content["published"]).astimezone(UTC)
            manifest, note, facts = content["manifest_sha256"], content["note"], content["facts"]
            if not (isinstance(manifest, str) and isinstance(note, str) and isinstance(facts, dict)):
                raise TypeError("a value has another type")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ArtefactError(
                f"{file} is not the description of a version ({error}); use another version"
            ) from None
        return cls(directory.name, directory, published, manifest, note, facts)


def manifest_checksum(model: Path) -> str:
    """Return the SHA-256 of the manifest of a saved model.

    Raises:
        OSError: the manifest cannot be read.
    """
    return hashlib.sha256((model / MANIFEST).read_bytes()).hexdigest()
