"""The model of the other arms: as one writes it, and our own net as skorch can train it."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.speed.cases import HIDDEN


class Ordinary(nn.Module):
    """An MRO model as one writes it: an `nn.Sequential` per term, in a loop.

    Returns the logit and, for the loss, the logit of every order behind its stop-gradient.
    """

    def __init__(self, widths, subsets):
        super().__init__()
        self.subsets = subsets
        self.nets = nn.ModuleList(
            nn.Sequential(
                nn.Linear(sum(widths[name] for name in subset), HIDDEN),
                nn.ReLU(),
                nn.Linear(HIDDEN, 1),
            )
            for subset in subsets
        )

    def forward(self, **X):
        orders = [0.0] * len(X)
        for subset, net in zip(self.subsets, self.nets, strict=True):
            x = torch.cat([X[name] for name in subset], dim=1)
            orders[len(subset) - 1] = orders[len(subset) - 1] + net(x).squeeze(1)
        total, stages = orders[0], [orders[0]]
        for order in orders[1:]:
            stages.append(total.detach() + order)
            total = total + order
        return total, torch.stack(stages)


class Same(nn.Module):
    """The estimator's own net; skorch passes modalities as keyword arguments."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, **X):
        output = self.net(X)
        return output.raw[0, :, 0], output.stages[:, 0, :, 0]


class StageLoss(nn.BCEWithLogitsLoss):
    """The loss of eq. 9: the sum over orders of the mean cross-entropy."""

    def forward(self, outputs, target):
        stages = outputs[1]
        target = target.to(stages.dtype).expand_as(stages)
        return super().forward(stages, target) * len(stages)
