"""Accuracy against leakage for the minimum number of users of a counted pair (`model.pair_users`).

    python benchmarks/pair_users.py data/shop --work /tmp/shop --out shop.json
    python benchmarks/pair_users.py data/ml-1m --work /tmp/ml-1m --epochs 3 --exclude-seen --out ml-1m.json

Half of the users of a prepared dataset are members: a small network is trained on them once. For each number, their pairs are
counted again, the corrections are fitted again on the validation part, and the membership of users is attacked, with the
counts that a saved model would have. The other half are the users that the attacks compare with.

Sessions of users are divided by user and then count as users of their own. Two attacks of who holds the model:
`difference`, the loss without counts minus the loss with counts, and `stored pairs`, the share of the pairs of neighbouring
events of a user that the model has stored. Shape letters: E events, P pairs, U users.
"""

import argparse
import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import reprise
from reprise.arrays import AnyArray, Float64Array
from reprise.data.dataset import PARTS, SequenceDataset
from reprise.data.sequence_blocks import iter_blocks
from reprise.evaluation.stats.bootstrap import Bootstrap
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.models.networks.recurrent import Recurrent
from reprise.privacy.auditing.membership import AttackResult, attack_result, membership_attacks
from reprise.privacy.auditing.user_losses import in_vocabulary, user_losses
from reprise.training import TrainingConfig, load_run
from reprise.training.stages.fit_corrections import COOCCURRENCE, CorrectionFitting
from reprise.training.validation import EpochValidation

NUMBERS = (1, 2, 3, 5, 10)
SEED = 0


def halves(path: Path, work: Path) -> tuple[SequenceDataset, SequenceDataset]:
    """Return the datasets of a random half of the users and of the others, with the parts of the whole dataset."""
    dataset = SequenceDataset.open(path)
    owner_U = np.arange(len(dataset)) if dataset.owner is None else dataset.owner
    number_U = np.random.default_rng(SEED).permutation(owner_U.max() + 1)[owner_U]
    is_member_U = number_U <= owner_U.max() // 2
    blocks = list(iter_blocks(dataset))
    row_E, part_E, item_E, time_ms_E = (
        np.concatenate([getattr(block, name) for block in blocks])
        for name in ("sequence_E", "part_E", "item_E", "time_ms_E")
    )
    work.mkdir(parents=True, exist_ok=True)
    made = []
    for name, wanted_U in (("members", is_member_U), ("others", ~is_member_U)):
        kept_E = wanted_U[row_E]
        columns = {
            "user_id": row_E[kept_E],
            "item_id": dataset.items.ids[item_E[kept_E] - 1],
            "timestamp": time_ms_E[kept_E],
            "part": np.array(PARTS)[part_E[kept_E]],
        }
        pq.write_table(pa.table(columns), work / f"{name}.parquet")
        made.append(
            reprise.prepare(work / f"{name}.parquet", work / name, split="column:part", progress=False)
        )
    return made[0], made[1]


def stored_share(model: NetworkScorer, dataset: SequenceDataset, row_U: AnyArray) -> Float64Array:
    """Return the share of the pairs of neighbouring training events of each user that the model has stored, [U]."""
    correction = model.cooccurrence
    assert correction is not None
    first_P = np.repeat(np.arange(len(correction.start) - 1), np.diff(correction.start))
    base = len(correction.start)
    stored_P = (first_P * base + correction.neighbour_P.numpy())[correction.after_P.numpy() > 0]
    first_U, last_U = np.asarray(dataset.offset[:-1])[row_U], np.asarray(dataset.train_end)[row_U]
    share_U = np.full(len(row_U), np.nan)
    for number, (first, last) in enumerate(zip(first_U.tolist(), last_U.tolist(), strict=True)):
        item_E = np.asarray(dataset.item[first:last], dtype=np.int64)
        item_E = item_E[(item_E > 0) & (item_E <= correction.items)]
        code_E = item_E[:-1] * base + item_E[1:]
        if len(code_E):
            place_E = np.searchsorted(stored_P, code_E).clip(max=len(stored_P) - 1)
            share_U[number] = (stored_P[place_E] == code_E).mean()
    return share_U[~np.isnan(share_U)]


def attacks(
    model: NetworkScorer, members: SequenceDataset, others: SequenceDataset, args: argparse.Namespace
) -> list[AttackResult]:
    """Attack up to `users` members and as many others; by losses up to `loss_users`."""
    losses, shares = [], []
    for dataset in (members, in_vocabulary(others, members)):
        row_U = np.random.default_rng(SEED).permutation(len(dataset))[: args.users]
        losses.append(user_losses(model, dataset, row_U=row_U[: args.loss_users], targets=args.targets))
        if model.cooccurrence is not None and not model.cooccurrence.is_zero:
            shares.append(stored_share(model, dataset, row_U))
    found = membership_attacks(*losses, Bootstrap(200))
    return [*found, attack_result("stored pairs", shares[0], shares[1], Bootstrap(200))] if shares else found


def measure(args: argparse.Namespace) -> None:
    """Train once, then measure each number, and the network without counts (0)."""
    members, others = halves(args.dataset, args.work)
    config = TrainingConfig(epochs=args.epochs, refit=0, exclude_seen=args.exclude_seen)
    spec = Recurrent(size=args.size, pair_users=1)
    reprise.train(spec, members, args.work / "run", training=config)
    model, _ = load_run(args.work / "run", before="valid")
    fresh = spec.build(members.sizes)  # with all corrections, also those that the run did not keep
    model.cooccurrence, model.repeat_head = fresh.cooccurrence, fresh.repeat_head
    assert model.cooccurrence is not None
    fitting = CorrectionFitting(model, members, nullcontext(), exclude_seen=args.exclude_seen)
    sampled = replace(config, validation_sequences=args.validation_sequences)
    validation = EpochValidation(sampled, members).validation
    rows = []
    for number in (0, *args.pair_users):
        names = tuple(name for name in fitting.names if number or name != COOCCURRENCE)
        model.cooccurrence.pair_users = max(1, number)
        if names:
            fitting.fit(names, args.steps)
        row: dict[str, Any] = {"pair_users": number, **validation(model, nullcontext())}
        model.count(members, "test")
        row["pairs"] = len(model.cooccurrence.neighbour_P) if number else 0
        found = attacks(model, members, others, args)
        row["attacks"] = [attack.to_dict() for attack in found]
        rows.append(row)
        print(text_of(row), flush=True)
        args.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def text_of(row: dict[str, Any]) -> str:
    """Return a row as text."""
    found = [
        f"{one['name']} AUC {one['auc']['value']:.3f} TPR@1% {one['points'][0]['tpr']['value']:.3f} "
        f"({one['points'][0]['tpr']['low']:.3f} to {one['points'][0]['tpr']['high']:.3f})"
        for one in row["attacks"]
    ]
    head = (
        f"pair_users {row['pair_users'] or 'no counts'}  ndcg@10 {row['ndcg@10']:.4f}  pairs {row['pairs']}"
    )
    return "\n    ".join([head, *found])


def main() -> None:
    """Measure, print and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, help="directory that prepare wrote")
    parser.add_argument("--work", type=Path, required=True, help="directory for the halves and the run")
    parser.add_argument("--pair-users", type=int, nargs="+", default=NUMBERS)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--exclude-seen", action="store_true")
    parser.add_argument("--users", type=int, default=3000, help="largest number of members and of others")
    parser.add_argument(
        "--loss-users", type=int, default=1000, help="the same for the attacks by losses, which are slow"
    )
    parser.add_argument(
        "--targets", type=int, default=40, help="last targets of a user whose losses are attacked"
    )
    parser.add_argument("--steps", type=int, default=80, help="steps of the fit of the corrections")
    parser.add_argument("--validation-sequences", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=Path("pair_users.json"))
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
