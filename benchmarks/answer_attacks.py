"""What answers reveal under different limits of an API key: items added to histories, and item vectors.

    python benchmarks/answer_attacks.py RUN [--dataset DIR] [--users 150]

For each limit, the first attack compares the answers to the history of a user before and after a random item is added, with
the answers to histories of one item each, which the attacker asks for himself. The second attack asks 90 random histories
and reads the item vectors from the answers. The attacks get the answers from the recommender, not through a server, and may
ask as many questions as they need: I + 2 for the first one. A request budget delays a patient attacker, see `hours`.
"""

import argparse
from pathlib import Path

import numpy as np

from reprise.arrays import AnyArray
from reprise.privacy.answer_attacks import added_item_scores, evidence, vector_r2
from reprise.recommender import Recommender
from reprise.training import load_run

QUESTIONS, HISTORY = 90, 60
PER_MINUTE = 60


class Attacker:
    """An attacker who sees answers under one limit."""

    def __init__(self, recommender: Recommender, k: int, scores: bool) -> None:
        self.recommender, self.k, self.scores = recommender, k, scores
        self.ids = {
            one: place for place, one in enumerate(recommender.items.ids[: recommender.items.scored].tolist())
        }

    def ask(self, histories: list[list[object]]) -> AnyArray:
        answers = self.recommender.recommend_many(histories, self.k, exclude_seen=True)
        return np.stack([
            evidence(
                [{"item_id": one.item_id, "score": one.score if self.scores else None, "rank": one.rank} for one in answer],
                self.ids,
            )
            for answer in answers
        ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--users", type=int, default=150)
    options = parser.parse_args()
    network, dataset = load_run(options.run, options.dataset)
    recommender = Recommender(network, dataset)
    names = recommender.items.ids[: recommender.items.scored].tolist()
    generator = np.random.default_rng(0)
    histories = []
    for user in generator.choice(len(dataset), min(options.users, len(dataset)), replace=False):
        first = dataset.offset[user]
        items = dataset.item[first : min(first + HISTORY, dataset.offset[user + 1])]
        known = [names[item - 1] for item in items.tolist() if item <= len(names)]
        histories.append([*known, names[generator.integers(len(names))]])
    random_histories = [generator.choice(names, 6, replace=False).tolist() for _ in range(QUESTIONS)]
    vectors_ID = recommender.artefact.output_ID
    items, width = len(names), vectors_ID.shape[1]
    print(
        f"{items:,} items, width {width}; by chance: first ten {10 / items:.1%}, R2 {min(QUESTIONS, width) / items:.3f}"
    )
    print(f"at {PER_MINUTE} requests per minute, the first attack takes {items / PER_MINUTE / 60:.1f} hours")
    print("| answer | first | in first ten | R2 of vectors |\n|---|---|---|---|")
    for k, scores in (
        (items, True),
        (1000, True),
        (100, True),
        (100, False),
        (10, True),
        (10, False),
        (5, False),
    ):
        attacker = Attacker(recommender, min(k, items), scores)
        single_CI = attacker.ask([[name] for name in names])
        before_NI, after_NI = attacker.ask([one[:-1] for one in histories]), attacker.ask(histories)
        place_N = np.array([attacker.ids[one[-1]] for one in histories])
        found_NC = np.stack(
            [added_item_scores(*pair, single_CI) for pair in zip(before_NI, after_NI, strict=True)]
        )
        rank_N = (found_NC > found_NC[np.arange(len(place_N)), place_N][:, None]).sum(1)
        explained = vector_r2(attacker.ask(random_histories), vectors_ID)
        shown = "scores" if scores else "ranks"
        print(
            f"| {shown}, k = {min(k, items):,} | {(rank_N < 1).mean():.0%} | {(rank_N < 10).mean():.0%} | {explained:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
