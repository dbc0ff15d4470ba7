"""The report of an audit: JSON with a stable schema, and a table for the terminal."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprise.atomic_files import write_text
from reprise.errors import ArtefactError
from reprise.evaluation.stats.bootstrap import Interval
from reprise.privacy.auditing.canaries import CanaryAudit, CanaryResult
from reprise.privacy.auditing.membership import FALSE_POSITIVE_RATES, AttackResult
from reprise.training.run_directory import RunDirectory

FORMAT = 1
"""Version of the schema of the JSON file."""
FILE = "audit.json"
"""Name of the report in a run directory."""
FIELDS = {"run", "weights", "protocol", "attacks", "references", "canaries", "notes"}
"""Fields of the JSON file besides its format."""
LIMIT = "An audit is a lower bound: it can show a leak, never its absence."
"""The sentence that every report has."""


@dataclass(frozen=True)
class AuditReport:
    """What the attacks of an audit have found."""

    run: str
    """Name of the network."""
    weights: str
    """SHA-256 of the file with the attacked weights."""
    protocol: dict[str, Any]
    """What was attacked, and how: numbers of users, targets, seed, version and left-out users."""
    attacks: tuple[AttackResult, ...]
    """Membership attacks."""
    references: dict[str, Any] | None = None
    """The reference models of the calibrated attacks; None: there are none."""
    canaries: CanaryAudit | None = None
    """The audit by canaries; None: not done."""
    notes: tuple[str, ...] = field(default=(LIMIT,))
    """Sentences about the limits of the audit."""

    @property
    def highest(self) -> AttackResult:
        """The attack with the highest true positive rate at a false positive rate of 1 %."""
        return max(self.attacks, key=lambda attack: attack.tpr_at(FALSE_POSITIVE_RATES[0]).value)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "format": FORMAT,
            "run": self.run,
            "weights": self.weights,
            "protocol": self.protocol,
            "attacks": [attack.to_dict() for attack in self.attacks],
            "references": self.references,
            "canaries": None if self.canaries is None else self.canaries.to_dict(),
            "notes": list(self.notes),
        }

    def write(self, file: Path) -> None:
        """Write the report as JSON."""
        write_text(file, json.dumps(self.to_dict(), indent=2) + "\n")

    def __str__(self) -> str:
        protocol = self.protocol
        lines = [
            f"{self.run}: {protocol['members']:,} members and {protocol['others']:,} others, the last "
            f"{protocol['targets']} training events of each, intervals of 95 %",
            "",
            *_table(
                [("attack", "AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR"), *map(_attack_row, self.attacks)]
            ),
        ]
        if self.canaries is not None:
            lines += ["", *_canary_lines(self.canaries)]
        return "\n".join([*lines, "", *self.notes])


def weights_digest(run: RunDirectory) -> str:
    """Return the SHA-256 of the weights that recommendations of a run use."""
    with run.weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_report(run: RunDirectory) -> dict[str, Any] | None:
    """Return the report of a run as JSON values; None if the run was not audited.

    Raises:
        ArtefactError: The file is damaged, of another format, or about other weights than those of the run.
    """
    file = run.path / FILE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtefactError(f"cannot read {file} ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{file} is damaged ({error}); delete it, or audit the run again") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT or not found.keys() >= FIELDS:
        raise ArtefactError(f"{file} is not an audit of format {FORMAT}; delete it, or audit the run again")
    if found["weights"] != weights_digest(run):
        raise ArtefactError(
            f"{file} is about other weights than those of {run.path}; audit the run again, or delete it"
        )
    return found


def _attack_row(attack: AttackResult) -> tuple[str, ...]:
    return (
        attack.name,
        _number(attack.auc),
        *(f"{_percent(point.tpr)}, {point.false_positives} others" for point in attack.points),
    )


def _canary_lines(canaries: CanaryAudit) -> list[str]:
    head = (
        f"{canaries.inserted} canaries of {canaries.events} random items in a copy of the log, {canaries.left_out} left out, "
        f"{canaries.comparisons:,} random sequences to compare with:"
    )
    rows = [("losses", "exposure in bits", "of those left out", "epsilon at least", "largest possible bound")]
    rows += [(name, *_canary_cells(result)) for name, result in canaries.results.items()]
    return [head, "", *_table(rows)]


def _canary_cells(result: CanaryResult) -> tuple[str, str, str, str]:
    exposures = [
        f"median {part[2]:.1f} ({part[0]:.1f} to {part[-1]:.1f})"
        for part in (result.exposure, result.control)
    ]
    bound = result.epsilon
    found = f"{bound.epsilon:.2f} ({bound.correct} of {bound.guesses} guesses right)"
    return exposures[0], exposures[1], found, f"{bound.largest:.2f}"


def _number(value: Interval) -> str:
    if value.low is None or value.high is None:
        return f"{value.value:.3f}"
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"


def _percent(value: Interval) -> str:
    if value.low is None or value.high is None:
        return f"{value.value:.1%}"
    return f"{value.value:.1%} ({value.low:.1%} to {value.high:.1%})"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
