"""Which planned fits can be trained side by side, and how many at once."""

from __future__ import annotations

from typing import Any

from sklearn_mmfuse._training import resolve_device, room_on
from sklearn_mmfuse.estimators._fitting import FitPlan

__all__ = ["alike", "architecture", "how_many", "worth_training_at_once"]

MEMORY = 2**29  # bytes that a stack of members may take, on a CPU
COPIES = 6  # of the parameters: gradients, two moments, the best so far, and one being made
CPU_MEMBERS = 16  # more gain nothing: arithmetic is the bill by then, and caches overflow
GPU_MEMBERS = 512  # a step of as many small nets takes hardly longer than that of one


def worth_training_at_once(device: str) -> int:
    """Return up to how many members gain from being trained beside others, memory aside."""
    try:
        on_cpu = resolve_device(device).type == "cpu"
    except ValueError:  # which every fit will say
        on_cpu = True
    return CPU_MEMBERS if on_cpu else GPU_MEMBERS


def alike(one: FitPlan, other: FitPlan) -> bool:
    """Return whether two fits can be trained as members of one net."""
    key = one.member().key
    if key is None or key != other.member().key:
        return False
    return architecture(one) == architecture(other)


def architecture(plan: FitPlan) -> dict[str, Any]:
    """Return the configuration of a net, but for what members may have of their own."""
    return {key: v for key, v in plan.config.items() if key not in plan.net.member_options}


def how_many(plan: FitPlan) -> int:
    """Return how many fits like this one to train at once."""
    parameters = sum(p.numel() for p in plan.net.parameters())
    rows = max(plan.options.batch_size, plan.options.penalty_batch_size)
    inputs = sum(x[0].numel() for x in plan.train.blocks.values())
    whole = plan.net.has_population or len(plan.net.training_parts()) > 1
    read = len(plan.train) if whole else rows  # at once, of every member
    values = COPIES * (parameters + rows * plan.net.n_mask_units) + 2 * read * inputs
    values += len(plan.train) * plan.net.n_population_values
    size = values * next(plan.net.parameters()).element_size()
    device = plan.options.device
    if device.type == "cpu":
        return max(1, min(CPU_MEMBERS, MEMORY // size))
    return max(1, int(min(GPU_MEMBERS, room_on(device) // size)))
