"""The group of processes that train one network together, started by `torchrun`. One process is a group of its own.

A rank is the number of a process in its group, from 0. Rank 0 is the main process: it alone writes files and shows
progress. All methods that communicate are collective: every process of the group must call them in the same order.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed.rendezvous import rendezvous

import reprise.errors
from reprise.errors import ConfigError, ProcessEndedError, RepriseError

START_TIMEOUT = timedelta(minutes=10)
"""Time in which all processes must have started."""
TIMEOUT = timedelta(days=1)
"""Time that a process waits for the others. It is long because one may write or fit for long while the others wait; a
process that ends is noticed earlier, by its closed connection."""
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables by which `torchrun` tells a process its place."""
ENDED = (
    "another process of this training has ended or lost its connection; run the same command again to continue from the "
    "last checkpoint"
)


class ProcessGroup:
    """The processes that train one network together, seen from one of them.

    Args:
        rank: Number of this process, from 0.
        world_size: Number of processes.
        local_rank: Number of this process among those of its machine.
        store: Key-value store of the group, a `torch.distributed.Store`; None for a single process.
    """

    def __init__(
        self,
        rank: int = 0,
        world_size: int = 1,
        local_rank: int = 0,
        store: Any = None,
    ) -> None:
        self.rank, self.world_size, self.local_rank = rank, world_size, local_rank
        self._store = store

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and shows the progress."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether this is the only process. Then nothing is communicated."""
        return self.world_size == 1

    def sum(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over all processes, bit for bit the same on each, and return it."""
        if not self.is_alone:
            with _connected():
                distributed.all_reduce(tensor)
        return tensor

    def any(self, value: bool) -> bool:
        """Return whether the value is true in at least one process."""
        return value if self.is_alone else bool(self.sum(torch.tensor([float(value)])))

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by those of the main process."""
        if not self.is_alone:
            for tensor in tensors:
                with _connected(), torch.no_grad():
                    distributed.broadcast(tensor.detach(), 0)

    def gather(self, rows: Tensor) -> list[Tensor]:
        """Return the rows of each process, in the order of the ranks.

        Args:
            rows: Tensor [n, ...]. Only n may differ between the processes.
        """
        if self.is_alone:
            return [rows]
        with _connected():
            lengths = [torch.empty(1, dtype=torch.int64) for _ in range(self.world_size)]
            distributed.all_gather(lengths, torch.tensor([len(rows)]))
            counts = [int(length) for length in lengths]
            padded = rows.new_zeros((max(counts), *rows.shape[1:]))
            padded[: len(rows)] = rows
            found = [torch.empty_like(padded) for _ in counts]
            if padded.numel():
                distributed.all_gather(found, padded)
        return [part[:count] for part, count in zip(found, counts, strict=True)]

    def gather_json(self, value: Any) -> list[Any]:
        """Return a JSON value of each process, in the order of the ranks."""
        if self.is_alone:
            return [value]
        text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        return [json.loads(bytes(part.tolist())) for part in self.gather(text)]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Wait at the end of the block for all processes, as a context manager. An error of one is raised by all.

        The block itself must not communicate.
        """
        if self.is_alone:
            yield
            return
        error: Exception | None = None
        try:
            yield
        except Exception as caught:
            error = caught
        found = self.gather_json(None if error is None else [type(error).__name__, str(error)])
        failed = [(rank, *named) for rank, named in enumerate(found) if named is not None]
        if error is not None and (len(failed) == self.world_size or not isinstance(error, RepriseError)):
            raise error
        if failed:
            raise _error_of(*failed[0]) from error

    def claim(self, what: str) -> bool:
        """Return True for the first process of the group that calls this with the same text. It is not collective."""
        if self._store is None:
            return True
        try:
            return bool(self._store.add(f"reprise {what}", 1) == 1)
        except RuntimeError:  # the process that holds the store has ended
            return self.is_main


ALONE = ProcessGroup()
"""The group of a process that trains alone."""


@cache
def process_group() -> ProcessGroup:
    """Return the group of this process, which `torchrun` describes in the environment. The first call connects it.

    Raises:
        ConfigError: The environment names several processes but not their place, or they cannot connect.
    """
    size = started_processes()
    if size == 1:
        return ALONE
    missing = [name for name in VARIABLES if name not in os.environ]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE is {size} but {', '.join(missing)} is not set; start the processes with torchrun"
        )
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, _, _ = next(rendezvous("env://", timeout=START_TIMEOUT))
        distributed.init_process_group(
            backend,
            timeout=TIMEOUT,
            rank=rank,
            world_size=size,
            store=store,
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"process {rank} of {size} cannot connect to the others at {os.environ['MASTER_ADDR']} ({error}); "
            "GLOO_SOCKET_IFNAME names the network interface to use"
        ) from error
    return ProcessGroup(rank, size, local_rank, store)


def started_processes() -> int:
    """Return the number of processes that `torchrun` has started, 1 without it.

    Raises:
        ConfigError: WORLD_SIZE is not a number of processes.
    """
    if "RANK" not in os.environ:
        return 1
    size = os.environ.get("WORLD_SIZE", "1")
    if not (size.isdecimal() and int(size)):
        raise ConfigError(f"the environment variable WORLD_SIZE must be a number of processes, got {size!r}")
    return int(size)


def main_only(group: ProcessGroup, action: Callable[[], object]) -> None:
    """Do something in the main process only, while the others wait. Its error is raised by all."""
    with group.together():
        if group.is_main:
            action()


@contextmanager
def _connected() -> Iterator[None]:
    """Replace the error of a communication by one that says what has happened and what to do."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessEndedError(ENDED) from error


def _error_of(rank: int, kind: str, text: str) -> Exception:
    """Return the error of another process, of the same class if it is one of this package."""
    cls = getattr(reprise.errors, kind, None)
    if isinstance(cls, type) and issubclass(cls, RepriseError):
        return cls(f"process {rank}: {text}" if rank else text)
    return ProcessEndedError(f"process {rank} failed with {kind}: {text}")
