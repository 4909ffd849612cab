"""Several planned fits trained as one net of many members."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch

from sklearn_mmfuse._training import DivergedError, TrainingResult, fit_members, fit_network
from sklearn_mmfuse.estimators._fitting import FitPlan, Hooks
from sklearn_mmfuse.losses import Objective
from sklearn_mmfuse.nets import FusionNet

__all__ = ["CPU_MEMBERS", "alike", "how_many", "train_alone", "train_together"]

MEMORY = 2**29  # bytes that a stack of members may take, on a CPU
COPIES = 6  # of the parameters: gradients, two moments, the best so far, and one being made
CPU_MEMBERS = 16  # more gain nothing: arithmetic is the bill by then, and caches overflow


def alike(one: FitPlan, other: FitPlan) -> bool:
    """Return whether two fits can be trained as members of one net."""
    key = one.member().key
    if key is None or key != other.member().key:
        return False
    return _architecture(one) == _architecture(other)


def _architecture(plan: FitPlan) -> dict[str, Any]:
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


def train_together(
    build_net: Callable[[dict[str, Any]], FusionNet], plans: Sequence[FitPlan]
) -> list[TrainingResult | DivergedError]:
    """Train all plans, which are alike, at once; their nets are left trained.

    Parameters
    ----------
    build_net : callable
        Makes the net of a configuration.
    plans : sequence of FitPlan
        At least one.
    """
    if len(plans) == 1:
        try:
            result = train_alone(plans[0])
        except DivergedError as error:
            return [error]
        if result.interrupted:  # which is for who waits for one fit, and not for many
            raise KeyboardInterrupt
        return [result]
    config = plans[0].config
    stack = build_net({**config, "n_members": len(plans)})
    stack = stack.to(getattr(torch, str(config["dtype"])))
    return fit_members([plan.member() for plan in plans], stack)


def train_alone(plan: FitPlan, hooks: Hooks | None = None) -> TrainingResult:
    """Train one plan; its net is left trained.

    By skorch where somebody listens to it: callbacks of either kind, `net_params`, `verbose`.
    """
    member = plan.member()
    if hooks is None and member.key is not None and not plan.options.verbose:
        (outcome,) = fit_members([member], copy.deepcopy(plan.net))
        if isinstance(outcome, DivergedError):
            raise outcome
        return outcome
    return fit_network(
        plan.net,
        plan.train,
        plan.validation,
        Objective(plan.loss, plan.penalties),
        plan.options,
        seed=plan.seed,
        on_epoch=hooks,
    )
