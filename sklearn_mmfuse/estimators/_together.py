"""Several planned fits trained as one net of many members."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch

from sklearn_mmfuse._training import DivergedError, TrainingResult, fit_members, fit_network
from sklearn_mmfuse.estimators._epochs import choose_epochs
from sklearn_mmfuse.estimators._fitting import FitPlan, Hooks
from sklearn_mmfuse.losses import Objective
from sklearn_mmfuse.nets import FusionNet

__all__ = ["train_alone", "train_together"]


def train_together(
    build_net: Callable[[dict[str, Any]], FusionNet], plans: Sequence[FitPlan]
) -> list[TrainingResult | DivergedError]:
    """Train all plans, which are alike, at once; their nets are left trained.

    Those with folds learn from these first for how many epochs.

    Parameters
    ----------
    build_net : callable
        Makes the net of a configuration.
    plans : sequence of FitPlan
        At least one.
    """
    errors = choose_epochs(build_net, plans)
    able = [plan for plan, error in zip(plans, errors, strict=True) if error is None]
    trained = iter(_train(build_net, able) if able else [])
    return [next(trained) if error is None else error for error in errors]


def _train(
    build_net: Callable[[dict[str, Any]], FusionNet], plans: Sequence[FitPlan]
) -> list[TrainingResult | DivergedError]:
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
