"""The rows of a batch that each process reads, and their recurrent state.

Row i belongs to the process i mod P of P processes, in every batch of the same rows, so that a carried state stays where it
is. If the number of rows is not a multiple of P, the last processes read an empty row more.

Shape letters: B rows of the whole batch, C rows of this process.
"""

import torch
from torch import Tensor

from reprise.data.vocabulary import PAD
from reprise.models.batch import Batch
from reprise.nn.cells import State
from reprise.training.distributed.process_group import ProcessGroup


def own_rows(batch: Batch, group: ProcessGroup) -> Batch:
    """Return the rows of a batch that this process reads."""
    if group.is_alone:
        return batch
    row_C = _own(len(batch.row_B), group)
    index_C = row_C.clamp(max=len(batch.row_B) - 1).to(batch.row_B.device)
    own = Batch(*(column[index_C] for column in batch))
    is_empty_C1 = (row_C >= len(batch.row_B)).to(batch.row_B.device).unsqueeze(1)
    return own._replace(
        item_BT=own.item_BT.masked_fill(is_empty_C1, PAD),
        target_BT=own.target_BT.masked_fill(is_empty_C1, PAD),
    )


def own_state(state: State | None, group: ProcessGroup) -> State | None:
    """Return the state of the rows that this process reads, from that of the whole batch."""
    if state is None or group.is_alone:
        return state
    return {
        name: tensor[_own(len(tensor), group).clamp(max=len(tensor) - 1).to(tensor.device)]
        for name, tensor in state.items()
    }


def whole_state(state: State | None, rows: int, group: ProcessGroup) -> State | None:
    """Return the state of all rows of the whole batch, from that of the rows of each process.

    Args:
        state: State of the rows of this process.
        rows: B.
        group: All processes; each must call this.
    """
    if state is None or group.is_alone:
        return state
    return {
        name: torch.stack(group.gather(state[name]), dim=1).flatten(0, 1)[:rows] for name in sorted(state)
    }


def _own(rows: int, group: ProcessGroup) -> Tensor:
    """Return the numbers of the rows of this process, [C]; the numbers from `rows` on are empty rows."""
    return torch.arange(group.rank, -(-rows // group.world_size) * group.world_size, group.world_size)
