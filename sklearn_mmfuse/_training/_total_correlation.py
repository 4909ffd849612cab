"""A critic trained to the end on modalities as they are, and what it says of other rows."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sklearn_mmfuse._training._gradients import StepGradients
from sklearn_mmfuse._training._threads import few_threads, work_of
from sklearn_mmfuse.losses import DependencyGain, dependency_bound
from sklearn_mmfuse.nets import Critic, ModalityCritic, draw_orders

__all__ = ["CriticResult", "run_critic"]

FloatArray = NDArray[np.float64]
X = Mapping[str, Tensor]

LIPSCHITZ_RATE = 3e-3
PERCEPTRON_RATE, OTHER_RATE = 5e-3, 1e-3
DECAY = 1e-2
WARM_UP = 50  # steps
LAST_RATE = 0.05  # of the first
AVERAGE = 0.99  # of the weights, which are what is kept
SHUFFLES = 4  # per batch
CHECK_EVERY, PATIENCE = 25, 16
VALIDATION_SHUFFLES, TEST_SHUFFLES = 8, 50
MAX_SCALE = 1.5
SHIFTS = 5
NOTHING = 1e-9  # nats, or a distance


@dataclass(frozen=True)
class CriticResult:
    """What a critic says of rows that it was not trained on.

    Parameters
    ----------
    value : float
        The bound.
    influence : ndarray of shape (n_test,)
        What each row adds to the bound, as deviations with mean zero.
    history : list of dict
        The bound on the validation rows, by step.
    n_steps : int
        The step whose weights were kept; 0 leaves T at zero.
    """

    value: float
    influence: FloatArray
    history: list[dict[str, Any]]
    n_steps: int


def run_critic(
    blocks: Mapping[str, NDArray[np.floating[Any]]],
    parts: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]],
    dependency: str,
    *,
    hidden: Sequence[int],
    batch_size: int,
    max_steps: int,
    seed: int,
) -> CriticResult:
    """Train on the first part, choose the step by the second, and measure on the third.

    Parameters
    ----------
    blocks : mapping of str to ndarray
        Modalities `(n, d)`.
    parts : tuple of ndarray
        Training, validation and test rows.
    dependency : {"kl", "f", "wasserstein"}
        Which bound. "kl" and "f" have the same critic, trained by the former: they have the same
        supremum, where the mean of e^T over shuffled rows is one, and T is shifted to be there on
        the validation rows.
    hidden, batch_size, max_steps, seed
        How.
    """
    train, validation, test = _standardized(blocks, parts)
    generator = torch.Generator().manual_seed(seed)
    critic: ModalityCritic | _LipschitzCritic
    if dependency == "wasserstein":
        critic = _LipschitzCritic({n: x.shape[1] for n, x in train.items()}, hidden)
    else:
        critic = ModalityCritic({n: x.shape[1] for n, x in train.items()}, hidden)
    critic.reset_parameters(generator)
    orders = _orders(validation, VALIDATION_SHUFFLES, generator)
    history: list[dict[str, Any]] = []
    trainer = _Trainer(critic, dependency, train, min(batch_size, _n(train)), max_steps, generator)
    best, best_step, kept = 0.0, 0, copy.deepcopy(trainer.averaged)
    with few_threads(work_of(critic, train, (1 + SHUFFLES) * trainer.batch_size)):
        for step in range(1, max_steps + 1):
            trainer.step(step)
            if step % CHECK_EVERY and step != max_steps:
                continue
            value = _bound(trainer.averaged, validation, orders, trainer.dependency)
            history.append({"step": step, "valid_dependency": value})
            if value > best + NOTHING:
                best, best_step, kept = value, step, copy.deepcopy(trainer.averaged)
            elif step - best_step >= CHECK_EVERY * PATIENCE:
                break
    if best_step == 0:  # nothing was found: T stays zero
        return CriticResult(0.0, np.zeros(_n(test)), history, 0)
    kept, validation, test = kept.double(), _double(validation), _double(test)
    if isinstance(kept, ModalityCritic):
        _calibrate(kept, validation, orders, best)
    value, influence = _measure(kept, test, dependency, generator)
    return CriticResult(value, influence, history, best_step)


class _LipschitzCritic(nn.Module):
    """A Lipschitz perceptron on all modalities side by side."""

    def __init__(self, in_features: Mapping[str, int], hidden: Sequence[int]) -> None:
        super().__init__()
        self.perceptron = Critic(
            in_features=sum(in_features.values()), hidden=hidden, n_members=1, lipschitz=True
        )

    def reset_parameters(self, generator: torch.Generator) -> None:
        self.perceptron.reset_parameters([generator])

    def forward(self, x: X, orders: Tensor | None = None) -> Tensor:
        rows = list(x.values())
        if orders is not None:
            rows = [row[order] for row, order in zip(rows, orders, strict=True)]
        t: Tensor = self.perceptron(torch.cat(rows, dim=-1).unsqueeze(0))
        return t.squeeze(0)


class _Trainer:
    """Steps of a critic, its learning rates, and the average of its weights."""

    def __init__(
        self,
        critic: ModalityCritic | _LipschitzCritic,
        dependency: str,
        rows: X,
        batch_size: int,
        max_steps: int,
        generator: torch.Generator,
    ) -> None:
        self.critic, self.averaged = critic, copy.deepcopy(critic)
        self.dependency = "wasserstein" if dependency == "wasserstein" else "kl"
        self.gain = DependencyGain(self.dependency)
        self.rows, self.batch_size, self.generator = rows, batch_size, generator
        self.max_steps = max_steps
        perceptron = list(critic.perceptron.parameters())
        inside = {id(parameter) for parameter in perceptron}
        others = [p for p in critic.parameters() if id(p) not in inside]
        fast = PERCEPTRON_RATE if others else LIPSCHITZ_RATE
        self.rates = [fast, OTHER_RATE][: 2 if others else 1]
        decay = DECAY if others else 0.0
        groups = [{"params": some} for some in (perceptron, others) if some]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=decay, fused=True)
        self._gradients = StepGradients(list(critic.parameters()))
        self._order, self._position = torch.empty(0, dtype=torch.long), 0

    def _batch(self) -> dict[str, Tensor]:
        if self._position + self.batch_size > len(self._order):
            self._order = torch.randperm(_n(self.rows), generator=self.generator)
            self._position = 0
        rows = self._order[self._position : self._position + self.batch_size]
        self._position += self.batch_size
        return {name: x[rows] for name, x in self.rows.items()}

    def step(self, number: int) -> None:
        """Take one step."""
        falling = 0.5 * (1.0 + math.cos(math.pi * number / self.max_steps))
        factor = min(1.0, number / WARM_UP) * (LAST_RATE + (1.0 - LAST_RATE) * falling)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        rows = self._batch()
        orders = _orders(rows, SHUFFLES, self.generator)
        batch = {"rows": rows, "orders": orders, "average": self.gain.average}
        self._gradients(self._loss, batch)
        nn.utils.clip_grad_norm_(self.critic.parameters(), 5.0)
        self.optimizer.step()
        keep = min(AVERAGE, number / (number + 10))
        with torch.no_grad():
            for mean, now in zip(self.averaged.parameters(), self.critic.parameters(), strict=True):
                mean.lerp_(now, 1.0 - keep)

    def _loss(self, batch: Mapping[str, Any]) -> Tensor:
        joint, shuffled = _scores(self.critic, batch["rows"], batch["orders"])
        shares = _equal(joint), _equal(shuffled)
        scores = joint.unsqueeze(0), shuffled.unsqueeze(0)
        return -self.gain(*scores, shares, update=True, before=batch["average"])


def _n(rows: X) -> int:
    return len(next(iter(rows.values())))


def _equal(scores: Tensor) -> Tensor:
    return scores.new_full((len(scores),), 1.0 / len(scores))


def _double(rows: X) -> dict[str, Tensor]:
    return {name: x.double() for name, x in rows.items()}


def _orders(rows: X, n_shuffles: int, generator: torch.Generator) -> Tensor:
    drawn = [draw_orders(_n(rows), len(rows), generator) for _ in range(n_shuffles)]
    return torch.cat(drawn, dim=1)


def _scores(critic: Any, rows: X, orders: Tensor) -> tuple[Tensor, Tensor]:
    """Return T of rows as they are and of shuffled ones."""
    if isinstance(critic, ModalityCritic):
        embedded = critic.embed(rows)
        joint = critic.join(critic.parts(rows, embedded))
        return joint, critic.join(critic.parts(rows, embedded, orders))
    return critic(rows), critic(rows, orders)


@torch.no_grad()
def _bound(critic: Any, rows: X, orders: Tensor, dependency: str) -> float:
    joint, shuffled = _scores(critic, rows, orders)
    shares = _equal(joint), _equal(shuffled)
    return float(dependency_bound(dependency, joint, shuffled, shares))


def _calibrate(critic: ModalityCritic, rows: X, orders: Tensor, best: float) -> None:
    """Weigh the parts of T anew where that is better, and shift T until E_q[e^T] is one."""
    with torch.no_grad():
        embedded = critic.embed(rows)
        joint, shuffled = critic.parts(rows, embedded), critic.parts(rows, embedded, orders)
    shares = _equal(joint[0]), _equal(shuffled[0])
    scale = critic.scale.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([scale], max_iter=30, line_search_fn="strong_wolfe")

    def bound(scale: Tensor) -> Tensor:
        critic.scale = scale
        return dependency_bound("kl", critic.join(joint), critic.join(shuffled), shares)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = -bound(scale)
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        found = scale.detach().clamp(0.0, MAX_SCALE)
        better = bool(torch.isfinite(found).all()) and float(bound(found)) >= best
        critic.scale = found if better else torch.ones_like(found)
        for _ in range(SHIFTS):  # the shift is inside of what keeps T bounded
            t = critic.join(shuffled)
            critic.shift = critic.shift - (torch.logsumexp(t, dim=0) - math.log(len(t)))


@torch.no_grad()
def _measure(
    critic: Any, rows: X, dependency: str, generator: torch.Generator
) -> tuple[float, FloatArray]:
    """Return the bound on rows, and the influence of each on it.

    A row is once a joint row and in every shuffle once the row that each modality comes from; the
    influence is the sum of all (the first projection of a U-statistic).
    """
    n_rows = _n(rows)
    gained = torch.zeros(len(rows), n_rows, dtype=torch.float64)
    joint = torch.zeros(n_rows, dtype=torch.float64)
    for _ in range(TEST_SHUFFLES):
        orders = draw_orders(n_rows, len(rows), generator)
        joint, shuffled = _scores(critic, rows, orders)
        w = shuffled if dependency == "wasserstein" else shuffled.exp()
        for m, order in enumerate(orders):
            gained[m].index_add_(0, order, w / TEST_SHUFFLES)
    mean = gained[0].mean()
    deviation = (gained - mean).sum(dim=0)
    if dependency == "kl":
        value, deviation = joint.mean() - mean.log(), deviation / mean
    elif dependency == "f":  # T + 1 in E_p[T] - E_q[e^(T - 1)]
        value = joint.mean() + 1.0 - mean
    else:
        value = joint.mean() - mean
    influence: FloatArray = (joint - joint.mean() - deviation).numpy()
    return float(value), influence


def _standardized(
    blocks: Mapping[str, NDArray[np.floating[Any]]], parts: Sequence[NDArray[np.intp]]
) -> list[dict[str, Tensor]]:
    """Return the parts as float32 tensors, standardized by the first."""
    pieces: list[dict[str, Tensor]] = [{} for _ in parts]
    for name in sorted(blocks):
        block = blocks[name]
        mean, std = block[parts[0]].mean(axis=0), block[parts[0]].std(axis=0)
        varies = std > 1e-12 * np.abs(block[parts[0]]).max(axis=0)  # more than by rounding
        scale = np.where(varies, 1.0 / np.where(std > 0, std, 1.0), 0.0)
        for piece, rows in zip(pieces, parts, strict=True):
            scaled = ((block[rows] - mean) * scale).astype(np.float32)
            piece[name] = torch.from_numpy(scaled)
    return pieces
