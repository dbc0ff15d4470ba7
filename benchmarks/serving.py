"""`reprise serve` under open load, compared with the same app without its model, through model swaps and overload.

    python benchmarks/serving.py [--items 100000] [--rate 500] [--seconds 600] [--swaps 5] [--overload 3] [--out FILE]
    python benchmarks/serving.py --against CHECKOUT --slices 10 --slice-seconds 60 --seconds 0    # two versions by turns
    python benchmarks/serving.py --sizes 1000 10000 100000 200000     # the size from which scoring dominates
    python benchmarks/serving.py --pasts 10 10000                     # whether a long history costs more

Half of the requests are one event each, acknowledged when durable, half ask for ten items. Server and generator share the
machine. Latency counts from the scheduled time of a request. Weights are random unless a model is given. Prints JSON, and
a table of the latencies on standard error.
"""

import argparse
import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import load
import logs
import numpy as np
import serving_costs
import serving_overload
import uvloop
from host_stalls import HostStalls, allowed
from http_connections import Pool
from load import Mix, Plan, Record
from process_monitor import Watch

from reprise.testing.server_process import SERVE, ServerProcess

REAL, WITHOUT_MODEL, OTHER = "real", "without model", "other version"
STALL_MS = 5.0
"""Milliseconds from which a stall of the host is long."""
SERVER_WITHOUT_MODEL = (
    sys.executable,
    str(Path(__file__).with_name("server_without_model.py")),
)


class Running:
    """A server, connections to it, and its resource use."""

    def __init__(self, server: ServerProcess, connections: int) -> None:
        self.server = server
        self.pool = Pool(server.port, connections)
        self.watch = Watch(server.pid)


@asynccontextmanager
async def running(
    options: argparse.Namespace, model: Path, folder: Path, name: str = REAL
) -> AsyncIterator[Running]:
    """Start a server with an empty event store and wait until it is ready."""
    program, flags = (SERVER_WITHOUT_MODEL, ()) if name == WITHOUT_MODEL else (SERVE, ("--quiet",))
    source = other_source(options) if name == OTHER else {}
    store = options.store if name == REAL else "sqlite"
    with (
        logs.address(store, folder, name) as address,
        ServerProcess(
            model, address, folder / f"{name}.log", program=program, options=flags, environment=source
        ) as server,
    ):
        await asyncio.to_thread(server.wait_ready)
        it = Running(server, options.connections)
        await it.pool.prepare(options.open)
        yield it
        await it.pool.close()
        server.stop()


def other_source(options: argparse.Namespace) -> dict[str, str]:
    """Return the environment in which Python imports the other version."""
    paths = [options.against.resolve() / "src", Path(__file__).parent]
    return {"PYTHONPATH": os.pathsep.join(map(str, paths))}


def made_model(options: argparse.Namespace, path: Path) -> Path:
    """Make a model with random weights; by the other version, if there is one, so that both can read it."""
    if options.against is None:
        return serving_costs.made_model(path, options.items, options.width, search=options.search)
    call = f"serving_costs.made_model(pathlib.Path({str(path)!r}), {options.items}, {options.width})"
    program = f"import pathlib, serving_costs; {call}"
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, **other_source(options)})
    return path


def plan(options: argparse.Namespace, mix: Mix, rate: float, seconds: float, part: int) -> Plan:
    return Plan.made(mix, rate, seconds, options.seed + part, options.poisson)


async def by_turns(options: argparse.Namespace, mix: Mix, sides: Mapping[str, Running]) -> dict[str, Any]:
    """Send slices of one schedule by turns to several servers."""
    records = {name: Record() for name in sides}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    cpu_s = dict.fromkeys(sides, 0.0)
    for part in range(options.slices):
        slice_plan = plan(options, mix, options.rate, options.slice_seconds, 100 + part)
        for name in list(sides) if part % 2 else list(sides)[::-1]:
            side = sides[name]
            before_s = side.watch.cpu_s()
            record = await load.send(slice_plan, side.pool, options.patience)
            cpu_s[name] += side.watch.cpu_s() - before_s
            seconds[name] += record.by_second(99)
            records[name].extend(record)
    results = {
        name: {
            **record.summary(),
            "p99 of each second, ms": _spread(seconds[name]),
            "server CPU, us a request": round(cpu_s[name] / len(record) * 1e6, 1),
        }
        for name, record in records.items()
    }
    ratios = {f"{REAL} to {name}": _ratios(records, cpu_s, name) for name in sides if name != REAL}
    return {**results, "ratios": ratios}


def _ratios(records: Mapping[str, Record], cpu_s: Mapping[str, float], other: str) -> dict[str, float]:
    """Return the ratios of the real server to another one."""
    results = {
        f"{route} {name}": records[REAL].quantile_us(quantile, place)
        / records[other].quantile_us(quantile, place)
        for place, route in enumerate(load.ROUTES)
        for name, quantile in (("p50", 50), ("p99", 99))
    }
    results["CPU a request"] = (cpu_s[REAL] / len(records[REAL])) / (cpu_s[other] / len(records[other]))
    return {name: round(ratio, 2) for name, ratio in results.items()}


def _spread(numbers: Sequence[float]) -> dict[str, float]:
    """Return quantiles and the maximum: on a machine with occasional stalls, one number says little."""
    quantiles = {"half": 50, "nine of ten": 90, "all": 100}
    return {
        f"{words} below": round(float(np.percentile(numbers, place)), 2) for words, place in quantiles.items()
    }


async def steady(options: argparse.Namespace, mix: Mix, side: Running, model: Path) -> dict[str, Any]:
    """Apply the whole load, with model swaps during it."""
    before_s = side.watch.cpu_s()
    swapping = asyncio.ensure_future(swaps(options, side, model))
    async with side.watch.sampling(options.watch_seconds):
        with HostStalls() if allowed() else nullcontext() as stalls:
            start_s = time.monotonic()
            record = await load.send(
                plan(options, mix, options.rate, options.seconds, 1), side.pool, options.patience
            )
    cpu_s = side.watch.cpu_s() - before_s
    return {
        "rate": options.rate,
        **record.summary(),
        "p99 of each second, ms": _spread(record.by_second(99)),
        "stalls of the host": {} if stalls is None else _stalled(record, stalls, start_s),
        "server CPU, us a request": round(cpu_s / len(record) * 1e6, 1),
        "server CPU, cores": round(cpu_s / record.seconds, 3),
        "RSS, MiB": side.watch.summary(),
        "connections": side.pool.opened,
        "swaps": await swapping,
    }


def _stalled(record: Record, stalls: HostStalls, start_s: float) -> dict[str, Any]:
    """Return the stalls of the host, and the latency of requests with no long one in their second or the one before."""
    stall_ms = np.asarray(stalls.by_second(start_s, int(np.ceil(record.seconds)) + 1))
    calm = stall_ms < STALL_MS
    second_N = np.frombuffer(record.due_s, np.float64).astype(int)
    good_N = np.frombuffer(record.status, np.int16) == 200
    calm_N = good_N & calm[second_N] & (calm[second_N - 1] | (second_N == 0))
    took_ms = np.frombuffer(record.took_us, np.int64)[calm_N] / 1000
    return {
        **stalls.summary(),
        "requests in seconds without a stall": len(took_ms),
        "p99 of these, ms": round(float(np.percentile(took_ms, 99)), 2) if len(took_ms) else 0.0,
    }


async def swaps(options: argparse.Namespace, side: Running, model: Path) -> list[dict[str, Any]]:
    """Swap models at even intervals, every other time by SIGHUP."""
    results: list[dict[str, Any]] = []
    for place in range(options.swaps):
        await asyncio.sleep(options.seconds / (options.swaps + 1))
        if place % 2:
            side.server.process.send_signal(signal.SIGHUP)
            results.append({"by": "SIGHUP"})
            continue
        start_s = asyncio.get_running_loop().time()
        body = {"path": str(model)}
        reply = await asyncio.to_thread(side.server.request, "POST", "/v1/admin/model", body)
        took_s = asyncio.get_running_loop().time() - start_s
        results.append(
            {"by": "HTTP", "status": reply.status, "seconds": round(took_s, 2), "answer": reply.body}
        )
    for _ in range(300 if options.swaps else 0):  # a signal has no reply
        page = (await asyncio.to_thread(side.server.request, "GET", "/metrics")).body
        counts = [line for line in page.splitlines() if line.startswith("reprise_model_swaps_total")]
        if sum(float(line.split()[-1]) for line in counts) >= options.swaps:
            return results + [{"metric": line} for line in counts]
        await asyncio.sleep(0.1)
    return results


async def under_load(options: argparse.Namespace, model: Path, folder: Path) -> dict[str, Any]:
    """Run all measurements of one catalogue size under load."""
    ids = await asyncio.to_thread(load.catalogue_ids, model)
    mix = Mix(ids, options.users, options.skew, clocks=not options.server_clock)
    results: dict[str, Any] = {"items": len(ids)}
    async with running(options, model, folder) as real:
        for part in range(2):  # warm up connections, caches, and the states of most users
            await load.send(plan(options, mix, options.rate, options.warmup / 2, 50 + part), real.pool)
        if options.slices:
            others = (WITHOUT_MODEL,) if options.against is None else (WITHOUT_MODEL, OTHER)
            async with AsyncExitStack() as stack:
                sides = {REAL: real}
                for name in others:
                    side = sides[name] = await stack.enter_async_context(
                        running(options, model, folder, name)
                    )
                    await load.send(plan(options, mix, options.rate, options.warmup, 52), side.pool)
                results["by turns"] = await by_turns(options, mix, sides)
        if options.seconds:
            results["steady"] = await steady(options, mix, real, model)
        if options.overload:
            results["overload"] = await serving_overload.measure(options, mix, real.pool, real.watch)
        results["server said"] = real.server.output()[-2000:]
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    whole = (
        ("items", 100_000, "of the made model"),
        ("width", 128, "of the made model"),
        ("users", 20_000, "who ask"),
        ("swaps", 0, "of the model during the load"),
        ("slices", 12, "by turns with the app without its model, and with --against; 0: none"),
        ("connections", 512, "at most"),
        ("open", 32, "connections from the beginning"),
        ("repeats", 400, "of --sizes and --pasts"),
        ("seed", 1, "seed of users, items and times"),
    )
    real = (
        ("rate", 500.0, "requests a second"),
        ("seconds", 600.0, "of the steady load; 0: none"),
        ("slice-seconds", 5.0, "of each slice"),
        ("warmup", 10.0, "seconds before anything counts"),
        ("skew", 1.0, "Zipf's exponent of the users"),
        ("overload", 0.0, "times the sustainable rate; 0: none"),
        ("overload-seconds", 60.0, "of it"),
        ("sustainable", 0.0, "the rate that is; 0: sought"),
        ("recovery-seconds", 20.0, "watched after it"),
        ("patience", 5.0, "seconds after which a request that could not leave is given up"),
        ("watch-seconds", 10.0, "between looks at the memory"),
    )
    for kind, numbers in ((int, whole), (float, real)):
        for name, default, words in numbers:
            parser.add_argument(f"--{name}", type=kind, default=default, help=f"{words} ({default:g})")
    parser.add_argument("--search", default="auto", help="of the made model: exact, approximate or auto")
    parser.add_argument("--model", type=Path, help="saved model (default: random weights)")
    parser.add_argument(
        "--against", type=Path, help="checkout of another version, which gets the same slices by turns"
    )
    parser.add_argument("--store", default="sqlite", help=logs.HELP)
    parser.add_argument("--poisson", action="store_true", help="Poisson arrivals instead of a fixed interval")
    parser.add_argument("--server-clock", action="store_true", help="events without a timestamp")
    parser.add_argument(
        "--sizes", type=int, nargs="*", help="compare catalogue sizes instead of applying load"
    )
    parser.add_argument(
        "--pasts", type=int, nargs=2, help="compare two history lengths instead of applying load"
    )
    parser.add_argument("--exclude-seen", action="store_true", help="exclude seen items, with --pasts")
    parser.add_argument("--out", type=Path, help="file for the printed result")
    options = parser.parse_args()
    results = {"command": shlex.join(["benchmarks/serving.py", *sys.argv[1:]]), **measured(options)}
    text = json.dumps(results, indent=2)
    if options.out:
        options.out.write_text(text + "\n")
    print(text)
    print("\n".join(table(results)), file=sys.stderr)


def table(results: Mapping[str, Any]) -> list[str]:
    """Return the latencies of every run under load, a line for each route."""
    runs = {name: run for name, run in results.get("by turns", {}).items() if name != "ratios"}
    runs |= {name: results[name] for name in ("steady",) if name in results}
    lines = []
    for name, run in runs.items():
        spread = ", ".join(f"{words} {p99_ms}" for words, p99_ms in run["p99 of each second, ms"].items())
        lines.append(
            f"{name}: statuses {run['statuses']}, server CPU {run['server CPU, us a request']} us a request"
        )
        lines += [
            f"  {route:<10}"
            + "".join(f"  {quantile} {found[quantile]:8.2f}" for quantile in (*load.QUANTILES, "max"))
            for route, found in (*run["routes"].items(), ("both", run["both"]))
        ]
        lines.append(f"  p99 of each second: {spread}")
        lines += [f"  stalls of the host: {run['stalls of the host']}"] if "stalls of the host" in run else []
    return lines


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Run the measurements that the options select."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.sizes:
            return run(serving_costs.sizes(options, folder, running))
        model = options.model or made_model(options, folder / "made.model")
        if options.pasts:
            return run(serving_costs.pasts(options, model, folder, running))
        return run(under_load(options, model, folder))


def run(work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
