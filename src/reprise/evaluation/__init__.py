"""The evaluation floor: full ranking, metrics with intervals, reports that carry their protocol."""
