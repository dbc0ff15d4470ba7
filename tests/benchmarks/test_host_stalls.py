"""Stalls of the host are assigned to the second in which they end."""

import importlib.util
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "host_stalls.py"


def test_the_longest_stall_of_each_second_is_kept() -> None:
    spec = importlib.util.spec_from_file_location("host_stalls", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    stalls = module.HostStalls()
    stalls.end_s = np.asarray([9.9, 10.0, 10.5, 12.7, 13.0])
    stalls.late_ms = np.asarray([50.0, 2.0, 7.0, 30.0, 90.0])
    assert stalls.by_second(10.0, 3) == [7.0, 0.0, 30.0]
    assert stalls.summary() == {
        "of 1 ms or more": 5,
        "of 5 ms or more": 4,
        "of 20 ms or more": 3,
        "of 100 ms or more": 0,
    }
