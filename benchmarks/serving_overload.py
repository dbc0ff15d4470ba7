"""Overload of a server: how much it rejects, how much memory it uses, and how fast it recovers."""

import argparse
import asyncio
from typing import Any

import load
from http_connections import Pool
from load import Mix, Plan
from process_monitor import Watch

STEP, STEP_S = 1.25, 4.0
"""Factor between the tried rates, and seconds at each."""
FAST_MS = 50.0
"""A rate is sustainable if 99 % of the answers arrive within this time."""


async def measure(options: argparse.Namespace, mix: Mix, pool: Pool, watch: Watch) -> dict[str, Any]:
    """Measure the sustainable rate, a multiple of it, and a fraction of it afterwards."""
    tried, rate = await sustainable(options, mix, pool)
    calm = Plan.made(mix, rate / 2, STEP_S, options.seed + 300)
    before = await load.send(calm, pool, options.patience)
    watch.rss.clear()
    async with watch.sampling(min(options.watch_seconds, 5.0)):
        flood = Plan.made(mix, rate * options.overload, options.overload_seconds, options.seed + 301)
        record = await load.send(flood, pool, options.patience)
    after = await load.send(
        Plan.made(mix, rate / 2, options.recovery_seconds, options.seed + 302), pool, options.patience
    )
    before_ms = before.quantile_us(99) / 1000
    seconds = after.by_second(99)
    normal = [second for second, p99 in enumerate(seconds) if p99 <= max(2 * before_ms, FAST_MS)]
    return {
        "sustainable rate": round(rate, 1),
        "tried": tried,
        "rate": round(rate * options.overload, 1),
        **record.summary(),
        "RSS, MiB": watch.summary(),
        "connections": pool.opened,
        "p99 before, ms": round(before_ms, 2),
        "p99 of each second after, ms": seconds,
        "normal from second": normal[0] if normal else None,
        "statuses after": after.statuses(),
    }


async def sustainable(
    options: argparse.Namespace, mix: Mix, pool: Pool
) -> tuple[list[dict[str, Any]], float]:
    """Return the highest tried rate at which all answers are correct and fast."""
    if options.sustainable:
        return [], options.sustainable
    tried: list[dict[str, Any]] = []
    rate = options.rate
    while True:
        record = await load.send(
            Plan.made(mix, rate, STEP_S, options.seed + 200 + len(tried)), pool, options.patience
        )
        p99_ms = record.quantile_us(99) / 1000
        good = record.statuses().keys() == {"200"} and p99_ms <= FAST_MS
        tried.append({"rate": round(rate, 1), "p99, ms": round(p99_ms, 2), "statuses": record.statuses()})
        await asyncio.sleep(0.5)
        if not good:
            return tried, rate / STEP
        rate *= STEP
