"""The model store: a directory with versions of a model and a file that names the current one.

    store.json     marks the directory and holds the number of the next version
    current.json   the current version, and the ones before it for a rollback
    versions/7/    version.json and the saved model in model/

Every change is one rename, so a process that ends in between leaves a valid store. Readers need no lock and no write access.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from reprise.argument_checks import whole
from reprise.atomic_files import PARTIAL, write_text, writing
from reprise.directory_lock import locked_output
from reprise.errors import ArtefactError, ConfigError
from reprise.model_store.model_version import DESCRIPTION, MODEL, ModelVersion, manifest_checksum
from reprise.path_kinds import MANIFESTS, instead, kind_of
from reprise.recommender.artefact.signature import PublicKeyLike
from reprise.recommender.recommender import Recommender

CURRENT = "current.json"
VERSIONS = "versions"
FORMAT = 1
HISTORY = 100
"""Number of earlier current versions that a store remembers for rollbacks."""
LOCK_WAIT_S = 600.0
"""Time to wait for another process that changes the store, in seconds. Copying a large model takes long."""


@dataclass(frozen=True)
class _State:
    """Content of `current.json`."""

    current: str | None = None
    earlier: tuple[str, ...] = ()
    """The versions that were current before, the latest first."""


class ModelStore:
    """A directory with versions of a model, of which one is current.

    Several processes may read and change a store.

    Args:
        path: The directory. `publish` creates it.

    Raises:
        ConfigError: there is something else at the path.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        found = kind_of(self.path)
        empty = not self.path.exists() or (self.path.is_dir() and _is_empty(self.path))
        if found != "store" and not empty:
            raise ConfigError(f"{self.path} is not a model store {instead(self.path, 'store')}")

    def __repr__(self) -> str:
        return f"ModelStore({str(self.path)!r})"

    @property
    def exists(self) -> bool:
        """Whether the directory has been created."""
        return kind_of(self.path) == "store"

    def versions(self) -> list[ModelVersion]:
        """Return the readable versions, oldest first. A version without a valid description is left out."""
        found = []
        for name in self._names():
            with suppress(ArtefactError):
                found.append(ModelVersion.read(self._directory(name)))
        return found

    def version(self, name: str | int) -> ModelVersion:
        """Return a version.

        Raises:
            ConfigError: the store does not have the version.
            ArtefactError: its description is damaged.
        """
        names = self._names()
        if str(name) not in names:
            known = f"it has {_listed(names)}" if names else "it has no versions"
            raise ConfigError(f"{self.path} has no version {str(name)!r}; {known}")
        return ModelVersion.read(self._directory(str(name)))

    def current(self) -> ModelVersion | None:
        """Return the current version, or None if no version was promoted yet.

        Raises:
            ArtefactError: the file `current.json` or the description of the version is damaged.
        """
        name = self._state().current
        return None if name is None else ModelVersion.read(self._directory(name))

    def earlier(self) -> list[str]:
        """Return the names of the versions that were current before and still exist, the latest first."""
        names = self._names()
        return [name for name in self._state().earlier if name in names]

    def publish(
        self,
        model: str | Path,
        note: str = "",
        *,
        facts: Mapping[str, Any] | None = None,
        promote: bool = False,
        verify: PublicKeyLike = None,
    ) -> ModelVersion:
        """Copy a saved model into the store as a new version, after loading it and running its self-check.

        Args:
            model: Directory of the saved model.
            note: Text to store with the version.
            facts: JSON values to store with the version.
            promote: Make it the current version.
            verify: Public key, or its file, of the signature that the model must have. None: it needs no signature.

        Raises:
            ArtefactError: the model is damaged, has no valid signature, or cannot be copied. The store is unchanged.
        """
        source = Path(model)
        if kind_of(source) != "model":
            raise ArtefactError(f"{source} is not a saved model {instead(source, 'model')}")
        with self._changing():
            partial = self.path / VERSIONS / f".{uuid4().hex}{PARTIAL}"
            with writing(partial, "the store is unchanged"):
                partial.mkdir(parents=True)
            try:
                with writing(partial, "the store is unchanged"):
                    shutil.copytree(source, partial / MODEL)
                # the copy is checked, not the source, which may change meanwhile
                Recommender.load(partial / MODEL, verify=verify).self_check()
                version = ModelVersion(
                    self._take_number(), partial, datetime.now(UTC), manifest_checksum(partial / MODEL), note, facts or {}
                )  # fmt: skip
                with writing(partial, "the store is unchanged"):
                    (partial / DESCRIPTION).write_text(version.description(), encoding="utf-8")
                    _sync(partial)
                    partial.rename(self._directory(version.name))
                    _sync_directory(self.path / VERSIONS)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            if promote:
                self._promote(version.name)
        return self.version(version.name)

    def promote(self, name: str | int) -> ModelVersion:
        """Make a version the current one. Its manifest is checked first.

        Raises:
            ConfigError: the store does not have the version.
            ArtefactError: the version is damaged, or the store cannot be written.
        """
        with self._changing():
            return self._promote(str(name))

    def rollback(self) -> ModelVersion:
        """Make the version current that was current before. A second call goes back another version.

        Versions that were removed or damaged are passed over.

        Raises:
            ConfigError: no earlier version is left.
            ArtefactError: the store cannot be written.
        """
        with self._changing():
            state = self._state()
            for place, name in enumerate(state.earlier):
                try:
                    version = self.version(name)
                    version.check()
                except (ConfigError, ArtefactError):
                    continue
                self._write_state(_State(name, state.earlier[place + 1 :]))
                return version
        raise ConfigError(
            f"{self.path} has no earlier current version to go back to; choose one with `reprise models promote`"
        )

    def gc(
        self, keep: int = 5, min_age: timedelta = timedelta(hours=1), dry_run: bool = False
    ) -> list[ModelVersion]:
        """Remove old versions, and what interrupted calls left; return the removed versions.

        The current version, the one before it, the newest `keep` versions, and versions younger than `min_age` stay. A server
        that has loaded a removed version continues to serve it.

        Args:
            keep: Number of newest versions that stay.
            min_age: Age that a version must have.
            dry_run: Only return what would be removed.

        Raises:
            ConfigError: `keep` is below 1.
            ArtefactError: a version cannot be removed.
        """
        whole("keep", keep)
        with self._changing():
            versions, state = self.versions(), self._state()
            spared = {state.current, *self.earlier()[:1], *(version.name for version in versions[-keep:])}
            youngest = datetime.now(UTC) - min_age
            old = [one for one in versions if one.name not in spared and one.published <= youngest]
            if dry_run:
                return old
            for version in old:
                with writing(version.directory):
                    # one rename hides the version as a whole, before its files are deleted one by one
                    hidden = version.directory.with_name(f".{uuid4().hex}{PARTIAL}")
                    version.directory.rename(hidden)
            # the lock is held, so every hidden directory was left by an interrupted call or is to be removed
            for left in (self.path / VERSIONS).glob(f".*{PARTIAL}"):
                with writing(left):
                    shutil.rmtree(left)
        return old

    def _directory(self, name: str) -> Path:
        return self.path / VERSIONS / name

    def _names(self) -> list[str]:
        try:
            found = [entry.name for entry in (self.path / VERSIONS).iterdir() if entry.name.isdecimal()]
        except FileNotFoundError:
            return []
        return sorted(found, key=int)

    def _promote(self, name: str) -> ModelVersion:
        version = self.version(name)
        version.check()
        state = self._state()
        if state.current != name:
            earlier = () if state.current is None else (state.current, *state.earlier)
            self._write_state(_State(name, earlier[:HISTORY]))
        return version

    def _state(self) -> _State:
        file = self.path / CURRENT
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            names = [content["current"], *content["earlier"]]
            if not all(isinstance(name, str) and name.isdecimal() for name in names):
                raise ValueError("a version is not a number")
        except FileNotFoundError:
            return _State()
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ArtefactError(
                f"{file} is damaged ({error}); delete it and choose a version with `reprise models promote`"
            ) from None
        return _State(names[0], tuple(names[1:]))

    def _write_state(self, state: _State) -> None:
        content = {"current": state.current, "earlier": list(state.earlier)}
        write_text(self.path / CURRENT, json.dumps(content) + "\n", "the current version is unchanged")
        _sync_directory(self.path)

    def _take_number(self) -> str:
        """Return the number of the next version, and store the one after it."""
        marker = self.path / MANIFESTS["store"]
        try:
            stored = int(json.loads(marker.read_text(encoding="utf-8"))["next"])
        except (ValueError, KeyError, TypeError) as error:
            raise ArtefactError(f"{marker} is damaged ({error}); publish into a new store") from None
        number = max([stored, *(int(name) + 1 for name in self._names())])
        self._write_marker(number + 1)
        return str(number)

    def _write_marker(self, number: int) -> None:
        text = json.dumps({"format": FORMAT, "next": number}) + "\n"
        write_text(self.path / MANIFESTS["store"], text, "the store is unchanged")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Create the store if it is missing, and lock it. Another process waits."""
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with locked_output(self.path / CURRENT, "changes", "try again later", wait_s=LOCK_WAIT_S):
            if not self.exists:
                self._write_marker(1)
            with writing(self.path):
                (self.path / VERSIONS).mkdir(exist_ok=True)
            yield


def _is_empty(directory: Path) -> bool:
    """Return whether a directory has nothing but files of a lock."""
    return all(entry.name.startswith(".") for entry in directory.iterdir())


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _sync(directory: Path) -> None:
    """Make all files of a directory durable."""
    for folder, _, files in os.walk(directory):
        for name in files:
            with (Path(folder) / name).open("rb") as file:
                os.fsync(file.fileno())
        _sync_directory(Path(folder))


def _sync_directory(directory: Path) -> None:
    """Make the entries of a directory durable, on systems that allow it."""
    with suppress(OSError):  # Windows cannot open a directory
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
