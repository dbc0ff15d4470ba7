"""The results of drift as tables, JSON values and a file of Prometheus metrics."""

import math
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from reprise.feedback.distribution_drift import Drift
from reprise.feedback.result_page import ResultTable


def drift_tables(found: Sequence[Drift]) -> list[ResultTable]:
    """Return a table of the distributions, and one of the changed values of each."""
    tables = [
        ResultTable(
            "Drift",
            ("distribution", "PSI", "noise", "KS", "shift", "new", "reference", "current"),
            [
                (
                    one.name, one.psi, one.noise, "-" if one.ks is None else f"{one.ks:.3f}", one.level, f"{one.new:.1%}",
                    one.reference, one.current,
                )
                for one in found
            ],
            "The PSI is 0 for equal distributions. A shift is moderate from 0.1 and large from 0.25, if it is above the noise "
            "of independent events. Events with new values do not count in the PSI.",
        )
    ]  # fmt: skip
    tables += [
        ResultTable(
            f"Largest changes of {one.name}",
            ("value", "share before", "share now"),
            [(shift.value, f"{shift.before:.2%}", f"{shift.now:.2%}") for shift in one.changes],
        )
        for one in found
        if one.changes
    ]
    return tables


def drift_dict(found: Sequence[Drift]) -> dict[str, Any]:
    """Return the results as JSON values, by distribution; an infinite PSI is None."""
    return {
        one.name: {
            **one._asdict(),
            "psi": one.psi if math.isfinite(one.psi) else None,
            "level": one.level,
            "changes": [shift._asdict() for shift in one.changes],
        }
        for one in found
    }


def drift_metrics(found: Sequence[Drift]) -> str:
    """Return the results in the Prometheus text format, for the textfile collector of a node exporter."""
    registry = CollectorRegistry()
    label = ["distribution"]
    psi = Gauge(
        "reprise_drift_psi", "Population stability index against the training.", label, registry=registry
    )
    noise = Gauge(
        "reprise_drift_noise", "PSI that independent events rarely exceed.", label, registry=registry
    )
    new = Gauge("reprise_drift_new_share", "Share of events with new values.", label, registry=registry)
    ks = Gauge("reprise_drift_ks", "Kolmogorov-Smirnov statistic.", label, registry=registry)
    for one in found:
        for gauge, value in ((psi, one.psi), (noise, one.noise), (new, one.new), (ks, one.ks)):
            if value is not None:
                gauge.labels(one.name).set(value)
    return generate_latest(registry).decode()
