"""Train a peer for some processor time on a prepared log, and evaluate it under the protocol of this library.

    python benchmarks/peers.py data/yoo sasrec --width 64 --seconds 600 --times 60 120 240 > sasrec.jsonl

Runs in a separate environment without this library; benchmarks/README.md says how to create it. Time counts from the
call of the peer's `fit`, on one thread, and stops during evaluation. Prints JSON lines.
"""

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from measurement_log import Notes, add_options
from protocol import Log, Sums, measure

NEIGHBOURS = ("vsknn", "vstan")
OWN_WIDTH = ("miasrec", "repeatnet")
"""Peers with the width that their repository publishes."""
PEERS = ("sasrec", "gru4rec", *OWN_WIDTH, *NEIGHBOURS)


def make_peer(options: argparse.Namespace) -> Any:
    """Return a peer with `fit(log, clock)` and `scores(log, targets)`; only its own packages are imported."""
    settings = dict(map(setting, options.set))
    if options.peer == "sasrec":
        from peer_sasrec import SASRec

        return SASRec(options.width, settings)
    if options.peer == "gru4rec":
        from peer_gru4rec import GRU4Rec

        return GRU4Rec(_given(options.gru4rec, "--gru4rec"), options.width, options.params, settings)
    if options.peer == "miasrec":
        from peer_miasrec import MiaSRec

        return MiaSRec(_given(options.miasrec, "--miasrec"), settings)
    if options.peer == "repeatnet":
        from peer_repeatnet import RepeatNet

        return RepeatNet(_given(options.repeatnet, "--repeatnet"), settings)
    from peer_knn import SessionKNN

    return SessionKNN(options.peer, _given(options.session_rec, "--session-rec"), settings)


def setting(text: str) -> tuple[str, Any]:
    """Parse `key=value`; the value is JSON if possible, otherwise text."""
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _given(path: Path | None, option: str) -> Path:
    if path is None:
        sys.exit(f"this peer needs {option} PATH, the folder of its repository")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--gru4rec", type=Path, help="folder of the official PyTorch repository")
    parser.add_argument("--params", help="published parameter file; --width still sets the width")
    parser.add_argument("--miasrec", type=Path, help="folder of the MiaSRec repository")
    parser.add_argument("--repeatnet", type=Path, help="folder of the RepeatNet-pytorch repository")
    parser.add_argument("--session-rec", type=Path, help="folder of the session-rec repository")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)
    log, peer = Log.open(options.dataset), make_peer(options)

    def measured(part: str) -> Sums:
        targets = log.targets(part, options.min_history)
        return measure(log, targets, peer.scores(log, targets), options.exclude_seen)

    name = options.peer if options.peer in (*NEIGHBOURS, *OWN_WIDTH) else f"{options.peer} {options.width}"
    notes = Notes(options, name, measured)
    notes.begin(fingerprint=log.fingerprint, options=peer.options)
    with contextlib.redirect_stdout(sys.stderr):  # the output of a peer is not JSON
        peer.fit(log, notes.clock)


if __name__ == "__main__":
    main()
