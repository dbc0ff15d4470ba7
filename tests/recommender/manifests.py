"""Changes of saved models that keep all checksums correct."""

import hashlib
import json
from pathlib import Path

from reprise.recommender.artefact.artefact import MANIFEST


def rewrite(
    folder: Path,
    files: dict[str, bytes] | None = None,
    entries: dict[str, object] | None = None,
    **more: object,
) -> None:
    """Replace files of a saved model, or entries of its manifest, and make all checksums correct again."""
    manifest = json.loads((folder / MANIFEST).read_text()) | (entries or {}) | more
    del manifest["sha256"]
    for name, data in (files or {}).items():
        (folder / name).write_bytes(data)
        manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    manifest["sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))
