"""Causal attention over packed documents whose rows are on several ranks.

Documents stand side by side in one sequence of T tokens and do not see each other: document i is
[starts[i], starts[i+1]), starts = 0, ..., T, on the host. A rank has some rows of the sequence (SequenceParallel.rows)
and gives the queries q [S,H,D], keys and values k, v [S,K,D] of these, in float32, bfloat16 or float16; K divides H.
The result [S,H,D] is differentiable, and both ways exchange tensors: every rank of the groups makes the same calls in
the same order. Groups are of torch.distributed, Gloo's or NCCL's; CUDA tensors reach a Gloo group through host memory.

What is wrong is a ValueError.
"""
import os
import pathlib
import warnings
from typing import NamedTuple

import torch
import torch.distributed as dist

torch.ops.load_library(pathlib.Path(__file__).with_name("_C.so"))


class Place(NamedTuple):
    """This rank's in a group, by whose name operators find it; "": a group of one."""
    name: str = ""
    size: int = 1
    index: int = 0

    @classmethod
    def of(cls, group):
        """None: the group of all ranks."""
        if not dist.is_initialized():
            if int(os.environ.get("WORLD_SIZE", 1)) > 1:
                raise ValueError("WORLD_SIZE says that there are several ranks, but torch.distributed is not "
                                 "initialised: call init_process_group, or make the TrainingArguments, first")
            return cls()
        group = group or dist.group.WORLD
        index = dist.get_rank(group)
        if index < 0:
            raise ValueError("this rank is not one of the process group's")
        return cls(group.group_name, dist.get_world_size(group), index)


def _attention(q, k, v, starts, scale, ring, ulysses, order):
    starts = torch.as_tensor(starts, dtype=torch.int64, device="cpu")
    if scale is None:
        scale = q.shape[-1] ** -0.5
    return torch.ops.trireme.attention(q, k, v, starts, scale, ring.name, ulysses.name, order)[0]


def ring_attention(q, k, v, starts, group=None, *, ring_order="balanced", scale=None):
    """Keys and values go round (Liu et al. 2023, arXiv 2310.01889): any number of ranks. `group` None: all ranks; scale
    None: 1 / sqrt(D). Rows are those of a SequenceParallel of this type and order."""
    return _attention(q, k, v, starts, scale, Place.of(group), Place(), ring_order)


def ulysses_attention(q, k, v, starts, group=None, *, scale=None):
    """Heads are exchanged (Jacobs et al. 2023, arXiv 2309.14509): the ranks divide H. As ring_attention."""
    return _attention(q, k, v, starts, scale, Place(), Place.of(group), "balanced")


def hybrid_attention(q, k, v, starts, parallel, *, scale=None):
    """Heads within groups that form a ring, as the SequenceParallel says (Fang and Zhao 2024, arXiv 2405.07719)."""
    return _attention(q, k, v, starts, scale, parallel.ring, parallel.ulysses, parallel.order)


class SequenceParallel:
    """The ranks of a process group, which share each sequence of a model with so many query and key heads.

    The arguments have the names and values of the program's options: `sequence_parallel_type` is "ulysses", "ring" or
    "hybrid", ring x Ulysses of `ulysses_size` ranks, by itself as many as the key heads and one machine allow.
    `ring_order` is "balanced", "zigzag" or "contiguous". All ranks of the group construct it, for it may make groups.
    ValueError: a degree does not divide what it must (names those that do).
    """

    def __init__(self, heads, kv_heads, group=None, *, sequence_parallel_type="hybrid", ulysses_size=0,
                 ring_order="balanced"):
        self.whole = Place.of(group)
        self.order = ring_order
        self.told_uneven = False
        machine = int(os.environ.get("LOCAL_WORLD_SIZE", self.whole.size))
        ring, ulysses = torch.ops.trireme.groups(sequence_parallel_type, self.whole.size, self.whole.index,
                                                 ulysses_size, heads, kv_heads, machine)
        # All in this order, so that nobody waits for who waits.
        self.ulysses = self._place_among(ulysses, group, "ulysses")
        self.ring = self._place_among(ring, group, "ring")

    def _place_among(self, members, group, name):
        if len(members) == self.whole.size:
            return self.whole
        if len(members) == 1:
            return Place()
        group = group or dist.group.WORLD
        ranks = dist.get_process_group_ranks(group)
        return Place.of(dist.new_group([ranks[i] for i in members], backend=dist.get_backend_config(group),
                                       use_local_synchronization=True, group_desc=name))

    def rows(self, starts):
        """Which rows of the sequence are this rank's: flat positions, ascending, int64 on the CPU."""
        starts = torch.as_tensor(starts, dtype=torch.int64, device="cpu")
        rows, uneven = torch.ops.trireme.rows(starts, self.ring.size, self.ring.index, self.ulysses.size,
                                              self.ulysses.index, self.order)
        if uneven and not self.told_uneven and self.whole.index == 0:
            self.told_uneven = True
            warnings.warn(f"ranks of the ring have unlike shares of attention: {uneven}", stacklevel=2)
        return rows
