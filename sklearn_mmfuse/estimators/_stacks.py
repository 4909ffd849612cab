"""Which planned fits can be trained side by side, and how many at once."""

from __future__ import annotations

from typing import Any

import torch

from sklearn_mmfuse.estimators._fitting import FitPlan

__all__ = ["CPU_MEMBERS", "alike", "architecture", "how_many"]

MEMORY = 2**29  # bytes that a stack of members may take, on a CPU
COPIES = 6  # of the parameters: gradients, two moments, the best so far, and one being made
CPU_MEMBERS = 16  # more gain nothing: arithmetic is the bill by then, and caches overflow


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
    if plan.options.device.type == "cuda":
        return max(1, torch.cuda.mem_get_info(plan.options.device)[0] // (2 * size))
    return max(1, min(CPU_MEMBERS, MEMORY // size))
