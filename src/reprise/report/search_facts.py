"""What `reprise tune` found, for the page of a comparison."""

import json
from pathlib import Path

from reprise.errors import ArtefactError
from reprise.report.comparison_file import SearchFacts
from reprise.training.tuning.search_directory import SearchDirectory

KEYS = ("metric", "trials", "best", "importance", "note")


def search_of(path: Path) -> SearchFacts:
    """The result of a search.

    Args:
        path: The directory that `tune` wrote.

    Raises:
        ArtefactError: It holds no finished search, or a damaged one.
    """
    file = SearchDirectory(path).result
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        facts: SearchFacts = {key: found[key] for key in KEYS}  # type: ignore[assignment]
        return facts
    except FileNotFoundError:
        raise ArtefactError(
            f"{path} holds no finished search (no {file.name}); `reprise tune DATASET --out {path}` makes one, "
            "or goes on with it"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{file} is damaged ({error!r}); search again in another directory") from None
