"""A job for tests of worker processes, which import it."""

import os
import signal

import torch

from reprise.training.parallel.worker_process import Channel, Message


def doubled(job: Message, channel: Channel) -> Message:
    """Send two messages in one go, wait for an answer if one is wanted, and return twice the number."""
    if job.get("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.get("fail"):
        raise ZeroDivisionError("a fault")
    channel.send({"step": 1})
    channel.send({"step": 2})
    more = channel.receive()["more"] if job.get("ask") else 0
    print("text on the standard output is not a message")
    return {"value": 2 * job["number"] + more, "threads": torch.get_num_threads(), "process": os.getpid()}
