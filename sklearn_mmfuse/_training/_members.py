"""fit_members(): many nets of one architecture, trained at once on the member dimension.

Every member is trained as :func:`fit_network` would train it alone: with parameters, rows and masks
drawn from a seed of its own, its own step sizes and penalties, its own early stopping.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sklearn_mmfuse._training._batches import Draws
from sklearn_mmfuse._training._critic import CriticPlayer
from sklearn_mmfuse._training._fit import (
    TrainingOptions,
    TrainingResult,
    keep_freed_memory,
    set_population,
    shuffling_generator,
    silence,
)
from sklearn_mmfuse._training._gradients import StepGradients
from sklearn_mmfuse._training._interaction_decay import decay_interactions
from sklearn_mmfuse._training._member_batches import MemberBatches
from sklearn_mmfuse._training._member_optimizer import (
    MemberAdamW,
    add_gradient,
    clip_gradients,
    limits_of,
)
from sklearn_mmfuse._training._net import DivergedError
from sklearn_mmfuse._training._product_start import ProductStart, find_products, start_products
from sklearn_mmfuse._training._rows import MemberRows, Rows, move_rows
from sklearn_mmfuse._training._sending import hand_over
from sklearn_mmfuse._training._threads import few_threads, work_of
from sklearn_mmfuse.losses import BaseLoss, Objective
from sklearn_mmfuse.nets import DependencyNet, FusionNet, FusionOutput, rows_at_once

__all__ = ["Member", "Team", "factors_of", "fit_members", "load_members", "member_state"]

Outcome = TrainingResult | DivergedError

FACTORS = (*(2.0 ** (k / 4) for k in range(-12, 9) if k), 1.0)
ROOM = 8  # members that fit into memory together in a pass over as many rows as one alone has


@dataclass(frozen=True)
class Team:
    """Members that stop together, by what all rows that they watch say.

    They are kept as they were when the mean of their validation losses was lowest, raw predictions
    `c + f (raw - c)` with the factor `f` that suits them, and `doubt` (see `BaseLoss.doubted`).

    Parameters
    ----------
    number : int
        Which team.
    constant : Tensor of shape (C,)
        What is predicted by who knows nothing, `c`, of this member.
    doubt : float
        A share of rows, the same for all members of a team.
    """

    number: int
    constant: Tensor
    doubt: float


def factors_of(loss: BaseLoss) -> tuple[float, ...]:
    """Return what predictions of a team may be multiplied with; 1 comes last.

    Log-odds that a net of few rows has learned are too large, or too small where it had few steps.
    Numbers are left as they are: the loss alone tells when they become too large.
    """
    return (1.0,) if loss.link == "identity" else FACTORS


@dataclass(frozen=True)
class Member:
    """One of many nets that are trained at once; `net`, of one member, holds the result.

    Parameters
    ----------
    net : FusionNet
        Untrained, with input statistics and bias set.
    train, validation : Rows
        As for `fit_network`; members that share these objects and a seed share every batch.
    objective : Objective
        Of the same loss and penalties as all others', whose weights may differ.
    options : TrainingOptions
        Of the same batch sizes and device as all others'.
    seed : int
        Of the parameters and of all that is drawn in training.
    team : Team, optional
        With whom to stop.
    """

    net: FusionNet
    train: Rows
    validation: Rows | None
    objective: Objective
    options: TrainingOptions
    seed: int
    team: Team | None = None

    @property
    def stream(self) -> Hashable:
        """What decides which rows and masks come, and when."""
        how = (self.options.dropout, self.options.modality_dropout)
        return (id(self.train), id(self.validation), self.seed, *how)

    @property
    def key(self) -> Hashable | None:
        """What members have in common that are trained at once; None where it has to be alone."""
        options = self.options
        if self.net.draws_globally or options.net_params is not None:
            return None
        return (
            type(self.net),
            type(self.objective.loss),
            tuple(penalty.key for penalty in self.objective.penalties),
            (options.batch_size, options.penalty_batch_size, options.learning_rate_schedule),
            (options.device, options.verbose),
            (len(self.train), None if self.validation is None else len(self.validation)),
            None if options.critic is None else (options.critic.key, self._gaps),
        )

    @property
    def _gaps(self) -> Hashable | None:
        """What decides how many rows of a batch lack nothing, which are what critics read."""
        watched = [] if self.validation is None else [self.validation]
        has_gaps = any(rows.present is not None for rows in (self.train, *watched))
        return self.stream if has_gaps else None


def fit_members(members: Sequence[Member], stack: FusionNet) -> list[Outcome]:
    """Train all members at once.

    Parameters
    ----------
    members : sequence of Member
        Of equal `key`. Their nets, of one member each, are left trained, on the CPU.
    stack : FusionNet
        An untrained net of the same configuration with as many members.

    Returns
    -------
    outcomes : list of TrainingResult or DivergedError
        What happened to each; a loss that is no longer finite ends its member alone.

    Raises
    ------
    KeyboardInterrupt
        When training is interrupted; one member alone ends there, and says so in its result.
    """
    with few_threads(work_of(stack, members[0].train.blocks, members[0].options.batch_size)):
        return _fit_members(members, stack)


def _fit_members(members: Sequence[Member], stack: FusionNet) -> list[Outcome]:
    for member in members:
        member.net.reset_parameters([torch.Generator().manual_seed(member.seed)])
    _start_products(members)
    load_members(stack, [member.net for member in members])
    device = members[0].options.device
    keep_freed_memory(device)
    stack.to(device)
    for name in stack.member_options:  # on the device, as indices of members are
        values = [float(getattr(member.net, name)) for member in members]
        setattr(stack, name, torch.tensor(values, dtype=torch.float64).to(stack.bias))
    parts = stack.training_parts()
    # Of several parts, each member comes to the second at a moment of its own.
    reads = _read_streams(members) if len(parts) == 1 else list(range(len(members)))
    streams = [members[reads.index(number)] for number in range(max(reads) + 1)]
    training = [stream.train for stream in streams]
    watched = [s.validation for s in streams if s.validation is not None]
    moved = move_rows([*training, *watched], device)
    training, watched = moved[: len(training)], moved[len(training) :]
    shufflers = [shuffling_generator(stream.seed) for stream in streams]
    outcomes: list[Outcome] = [TrainingResult() for _ in members]
    for position, part in enumerate(parts):
        if position:
            training = _leave_rest(parts[position - 1], training)
            watched = _leave_rest(parts[position - 1], watched)
        stack.begin_part(position)
        data = _Streams(reads, training, watched, shufflers)
        _PartTraining(part, position, members, data, outcomes).run()
        part.eval()
        if any(isinstance(o, TrainingResult) and o.interrupted for o in outcomes):
            silence(parts[position + 1 :])
            break
    stack.to(torch.device("cpu"))
    for e, member in enumerate(members):
        if isinstance(outcomes[e], TrainingResult):
            member.net.load_state_dict(member_state(stack, e))
            set_population(member.net, member.train)
    return outcomes


def _read_streams(members: Sequence[Member]) -> list[int]:
    """Return which stream each member reads, from 0 on: those that draw alike read the same."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(member.stream, len(numbers)) for member in members]


def _start_products(members: Sequence[Member]) -> None:
    """Have products start where rows have them; members of the same rows search once."""
    known: dict[int, list[list[ProductStart]]] = {}
    for member in members:
        rows = id(member.train)
        if rows not in known:
            known[rows] = find_products(member.net, member.train, member.objective.loss)
        start_products(member.net, known[rows])


@torch.no_grad()
def load_members(stack: FusionNet, nets: Sequence[FusionNet]) -> None:
    """Put nets of one member side by side: a leading axis is `(E)`, or `(E * groups)`."""
    states = [net.state_dict() for net in nets]
    stack.load_state_dict({key: torch.cat([state[key] for state in states]) for key in states[0]})


def member_state(stack: FusionNet, e: int) -> dict[str, Tensor]:
    """Return the state of one net, as it is alone: what `load_members` put side by side."""
    n = stack.n_members
    return {key: t.unflatten(0, (n, -1))[e].clone() for key, t in stack.state_dict().items()}


@torch.no_grad()
def _leave_rest(trained: FusionNet, rows: Sequence[Rows]) -> list[Rows]:
    """Return rows with what a trained part predicts added to their offset."""
    if not rows:
        return []
    shared = len(rows) == 1
    stacked = rows[0] if shared else MemberRows.of(rows)
    pieces = trained.row_pieces(stacked.inputs_in_place, stacked.present)
    offset = torch.cat([trained(X, None, here).raw for X, here in pieces], dim=1)
    if stacked.offset is not None:
        offset = offset + stacked.offset
    if shared:
        return [replace(rows[0], offset=offset)]
    return [replace(own, offset=offset[e : e + 1]) for e, own in enumerate(rows)]


@dataclass(frozen=True)
class _Streams:
    """What members read: which stream each of them, and the rows and generator of every stream."""

    reads: Sequence[int]
    training: Sequence[Rows]
    watched: Sequence[Rows]
    shufflers: Sequence[torch.Generator]


class _PartTraining:
    """The training of one part of the net, of all members that have not failed before.

    Members that are done are taken out: what goes on is a smaller net.
    """

    def __init__(
        self,
        part: FusionNet,
        position: int,
        members: Sequence[Member],
        streams: _Streams,
        outcomes: list[Outcome],
    ) -> None:
        self.part, self.outcomes = part, outcomes
        self.options = [member.options for member in members]
        self.ends = [options.n_epochs(position) for options in self.options]
        teams = [member.team for member in members if member.team is not None]
        assert len(teams) in (0, len(members))
        self.teams = _numbered(teams) if teams else None
        self.constants, self.doubts = _known_by(teams, like=part.bias)
        self.objective, self.penalty_weights = _objective_of(members, like=part.bias)
        self.factors = factors_of(self.objective.loss) if teams else (1.0,)
        self.max_epochs = torch.tensor([options.max_epochs for options in self.options])
        self.member_options = {name: getattr(part, name) for name in part.member_options}
        self.batches = self._training_batches(streams)
        self.blocks = streams.training[0].blocks
        self.watched = self._validation_batches(streams)
        self.best = _BestMembers(part, len(members))
        self.optimizer = MemberAdamW(
            part,
            [options.learning_rate for options in self.options],
            [options.weight_decay for options in self.options],
            decays=part.decays,
            schedule=self.options[0].learning_rate_schedule,
            n_steps=[options.max_epochs * self.batches.n_batches for options in self.options],
            apart=part.trained_apart,
        )
        self.player = self._make_player(streams, [member.seed for member in members])
        limits = [options.max_grad_norm for options in self.options]
        self.limits = limits_of(limits).to(part.bias)
        self.clips = any(limit is not None for limit in limits)
        # A CPU looks whether there is anything to clip, for which others would have to be waited
        # for; a player adds to gradients first.
        self.clips_at_once = self.clips and self.player is None and part.bias.device.type != "cpu"
        # Listed once: to walk through the modules takes a tenth of a small step.
        self.parameters = list(part.parameters())
        self.gradients = StepGradients(self.parameters)
        self.live = torch.arange(len(members))
        self.done_before = [
            len(o.history) if isinstance(o, TrainingResult) else 0 for o in outcomes
        ]
        self._keep_only(self._not_failed(self.live.tolist()), epoch=0)
        self._settle(epoch=0)

    def _make_player(self, streams: _Streams, seeds: Sequence[int]) -> CriticPlayer | None:
        """Return the other player of all members, where there is to be one."""
        critics = [options.critic for options in self.options if options.critic is not None]
        if not critics:
            return None
        assert isinstance(self.part, DependencyNet)
        reads = [0] if self.batches.shared else streams.reads
        return CriticPlayer(
            self.part,
            [(streams.training[r], seed) for r, seed in zip(reads, seeds, strict=False)],
            critics,
            batch_size=self.options[0].batch_size,
            max_grad_norms=[options.max_grad_norm for options in self.options],
        )

    def _training_batches(self, streams: _Streams) -> MemberBatches:
        first = [self.options[streams.reads.index(r)] for r in range(len(streams.training))]
        draws = [
            Draws(
                shuffler,
                dropout=options.dropout,
                n_mask_units=self.part.n_mask_units,
                modality_dropout=options.modality_dropout,
            )
            for shuffler, options in zip(streams.shufflers, first, strict=True)
        ]
        return MemberBatches(
            streams.training,
            draws,
            streams.reads,
            batch_size=self.options[0].batch_size,
            penalty_batch_size=self.options[0].penalty_batch_size,
        )

    def _validation_batches(self, streams: _Streams) -> MemberBatches | None:
        if not streams.watched:
            return None
        # Members that draw differently may watch the same rows.
        different = {id(rows): rows for rows in streams.watched}
        numbers = list(different)
        reads = [numbers.index(id(streams.watched[r])) for r in streams.reads]
        at_once = min(rows_at_once(streams.watched[0].blocks), self.part.max_rows)
        size = max(1, at_once // max(1, len(self.options) // ROOM))
        return MemberBatches(list(different.values()), [], reads, batch_size=size)

    # Epochs --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train until every member is done; leave each at its best."""
        epoch = 0
        try:
            while len(self.live):
                epoch += 1
                with few_threads(self.work):  # less when members have left
                    self._run_epoch(epoch)
        except KeyboardInterrupt:
            if len(self.options) > 1:
                raise
            self._interrupt()
        self.best.restore(self.part)

    def _run_epoch(self, epoch: int) -> None:
        start = time.perf_counter()
        progress = (epoch - 1) / self.max_epochs[self.live]
        self.progress.copy_(hand_over(progress, self.progress.device))
        self.part.begin_epoch(self.progress)
        trained = self._train_epoch()
        # All that an epoch tells is read at once: until then a GPU works and nobody waits for it.
        rows = trained if self.watched is None else torch.cat([trained, self._validate()])
        train_loss, *more = rows.cpu().numpy()
        losses, scaled = {"train_loss": train_loss}, np.stack(more) if more else None
        if scaled is not None:
            losses["valid_loss"] = scaled[-1]
        bounds = self._dependency()
        self._record(epoch, losses, bounds, (time.perf_counter() - start) / len(self.live))
        if self.teams is not None and scaled is not None:
            self._record_scaled(scaled)
        self._retire(epoch, None if scaled is None else self._of_teams(scaled))

    def _dependency(self) -> dict[str, NDArray[np.float64]]:
        """Return the bounds of the other player, on its batches and on the validation rows."""
        if self.player is None:
            return {}
        bounds = {"dependency": self.player.pop_bounds()}
        if self.watched is not None:
            bounds["valid_dependency"] = self.player.measure(self.watched.rows)
        return bounds

    def _interrupt(self) -> None:
        """End the only member where it is."""
        result = self._result(0)
        result.interrupted = True
        done = len(result.history) - self.done_before[0]
        if not done and self.done_before[0]:
            silence([self.part])  # what was hardly begun says nothing, rather than anything
        if self.watched is None or not done:
            self.best.store(self.part, self.live, self.live.tolist())
        best = self.best.epoch[0] if self.watched is not None else done
        result.best_epoch = self.done_before[0] + int(best)

    def _train_epoch(self) -> Tensor:
        """Take all steps; return the losses, `(1, E)`."""
        self.part.train()
        losses, sizes = [], []
        for inputs, target in self.batches:
            losses.append(self._step(inputs, target))
            sizes.append(inputs["weight"].shape[-1])
        return _mean_losses(losses, sizes).unsqueeze(0)

    def _step(self, inputs: Mapping[str, Any], target: Tensor) -> Tensor:
        if self.player is not None:
            self.player.train()
        loss = self.gradients(self._loss, {"inputs": inputs, "target": target})
        if self.player is not None and (more := self.player.penalty(inputs)) is not None:
            add_gradient(self.parameters, more)
            loss = loss + more.detach()
        if self.clips and not self.clips_at_once:
            clip_gradients(self.parameters, self.max_grad_norms)
        self.optimizer.step()
        if self.interaction_weights:
            factors = [self.options[e].interaction_decay for e in self.live.tolist()]
            decay_interactions(self.interaction_weights, factors, self.optimizer.decayed)
        return loss

    def _loss(self, batch: Mapping[str, Any]) -> Tensor:
        inputs, target = batch["inputs"], batch["target"]
        rows = inputs["penalty"]
        penalized = None if rows is None else (self._infer(rows), rows["weight"])
        output = self._infer(inputs)
        loss: Tensor = self.objective(
            output, target, inputs["weight"], self.part, inputs["offset"], penalized
        )
        return loss

    def _infer(self, inputs: Mapping[str, Any]) -> FusionOutput:
        output: FusionOutput = self.part(
            inputs["X"], inputs["mask"], inputs["present"], inputs["weight"]
        )
        return output

    @torch.no_grad()
    def _validate(self) -> Tensor:
        """Return the losses of predictions with each factor, `(F, E)`; the last factor is 1."""
        assert self.watched is not None
        live = hand_over(self.live, self.part.bias.device)
        constant = 0.0 if self.constants is None else self.constants[live]
        doubt = None if self.doubts is None else self.doubts[live]
        self.part.eval()
        if self.part.has_population:
            self.part.set_population(self.batches.rows)
        losses, sizes = [], []
        for inputs, target in self.watched:
            raw = self._infer(inputs).raw
            if inputs["offset"] is not None:
                raw = raw + inputs["offset"]
            told, weight = raw - constant, inputs["weight"]
            each = [
                self.objective.data_loss(constant + told * factor, target, weight, doubt=doubt)
                for factor in self.factors
            ]
            losses.append(torch.cat(each))
            sizes.append(inputs["weight"].shape[-1])
        return _mean_losses(losses, sizes).reshape(len(self.factors), -1)

    def _record_scaled(self, losses: NDArray[np.float64]) -> None:
        for position, e in enumerate(self.live.tolist()):
            if isinstance(self.outcomes[e], TrainingResult):
                self._result(e).scaled_losses.append(losses[:, position])

    def _record(
        self,
        epoch: int,
        losses: Mapping[str, NDArray[np.float64]],
        bounds: Mapping[str, NDArray[np.float64]],
        seconds: float,
    ) -> None:
        for position, e in enumerate(self.live.tolist()):
            row = {name: float(values[position]) for name, values in losses.items()}
            broken = next((name for name, loss in row.items() if not math.isfinite(loss)), None)
            if broken is not None:
                prefix = broken.removesuffix("_loss")
                self.outcomes[e] = DivergedError(
                    f"the {prefix} loss became {row[broken]} in epoch {epoch}"
                )
                continue
            row |= {name: float(values[position]) for name, values in bounds.items()}
            history = self._result(e).history
            history.append({"epoch": self.done_before[e] + epoch, **row, "dur": seconds})

    def _result(self, e: int) -> TrainingResult:
        outcome = self.outcomes[e]
        assert isinstance(outcome, TrainingResult)
        return outcome

    # Members come to an end ----------------------------------------------------------------------

    def _retire(self, epoch: int, valid_loss: NDArray[np.float64] | None) -> None:
        """Keep the members that are at their best, and take out those that are done."""
        if valid_loss is not None:
            self.best.update(self.part, self.live, valid_loss, epoch)
        left = self._not_failed(self.live.tolist())
        for e in list(left):
            if epoch >= self._end_of(e):
                left.remove(e)
                best = epoch if valid_loss is None else int(self.best.epoch[e])
                self._result(e).best_epoch = self.done_before[e] + best
                self._result(e).part_epochs.append(best)
        if valid_loss is None:
            self.best.store(self.part, self.live, sorted(set(self.live.tolist()) - set(left)))
        self._keep_only(left, epoch)

    def _end_of(self, e: int) -> int:
        """Return the epoch in which a member is done, if it does not become better before."""
        if self.watched is None:
            return self.ends[e]
        return min(self.ends[e], int(self.best.epoch[e]) + self.options[e].n_iter_no_change)

    def _of_teams(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what decides for every member that is left: its loss, or that of its team.

        The latter is the mean with the best factor; of a team that a member failed, infinity.
        """
        if self.teams is None:
            return np.asarray(scaled[-1])
        live, every = self.live.numpy(), np.full((len(scaled), len(self.teams)), np.inf)
        every[:, live] = np.where(np.isfinite(scaled), scaled, np.inf)
        sizes = np.bincount(self.teams)
        best = np.min([np.bincount(self.teams, weights=own) for own in every], axis=0) / sizes
        return np.asarray(best[self.teams[live]])

    def _not_failed(self, members: Sequence[int]) -> list[int]:
        """Return the members that have not failed."""
        return [e for e in members if isinstance(self.outcomes[e], TrainingResult)]

    def _keep_only(self, left: Sequence[int], epoch: int) -> None:
        if len(left) < len(self.live):
            self._take_out_others(left)
            self._settle(epoch)

    def _settle(self, epoch: int) -> None:
        """Prepare what stays as it is until the next members leave; steps may be recorded."""
        self._set_member_options()
        self.progress = torch.zeros(len(self.live)).to(self.part.bias.device)
        first_end = min(map(self._end_of, self.live.tolist()), default=epoch)
        clip = partial(clip_gradients, self.parameters, self.max_grad_norms)
        self.gradients.forget(
            n_certain=first_end - epoch, finish=clip if self.clips_at_once else None
        )
        more = any(self.options[e].interaction_decay > 1.0 for e in self.live.tolist())
        self.interaction_weights = self.part.interaction_weights() if more else []
        self.work = work_of(self.part, self.blocks, self.options[0].batch_size)

    def _take_out_others(self, left: Sequence[int]) -> None:
        position = {e: i for i, e in enumerate(self.live.tolist())}
        kept = torch.tensor([position[e] for e in left], dtype=torch.long)
        self.live = self.live[kept]
        if not len(kept):
            return
        _take(self.part, len(position), kept.to(self.part.bias.device))
        self.optimizer.take(kept.to(self.part.bias.device))
        if self.player is not None:
            self.player.take(kept)
        self.batches.take(kept)
        if self.watched is not None:
            self.watched.take(kept)

    def _set_member_options(self) -> None:
        live = self.live.to(self.part.bias.device)
        self.max_grad_norms = self.limits[live]
        for name, values in self.member_options.items():
            setattr(self.part, name, values[live])
        for penalty, values in zip(self.objective.penalties, self.penalty_weights, strict=True):
            penalty.reg_lambda = values[live]


class _BestMembers:
    """The state of every member at its best epoch, or at its last where none is watched."""

    def __init__(self, part: FusionNet, n_members: int) -> None:
        self.n_members = n_members
        self.state = {key: tensor.clone() for key, tensor in part.state_dict().items()}
        self.loss = np.full(n_members, np.inf)
        self.epoch = np.zeros(n_members, dtype=int)

    def update(self, part: FusionNet, live: Tensor, loss: NDArray[np.float64], epoch: int) -> None:
        """Keep the members whose loss has never been lower."""
        members = live.numpy()
        better = members[loss < self.loss[members]]
        self.loss[members] = np.fmin(loss, self.loss[members])
        self.epoch[better] = epoch
        self.store(part, live, better.tolist())

    @torch.no_grad()
    def store(self, part: FusionNet, live: Tensor, members: Sequence[int]) -> None:
        """Keep these members as they are now."""
        if not len(members):
            return
        chosen = torch.tensor(members)
        device = part.bias.device
        positions = hand_over(torch.searchsorted(live, chosen), device)
        chosen = hand_over(chosen, device)
        for key, tensor in part.state_dict().items():
            ours = self.state[key].unflatten(0, (self.n_members, -1))
            theirs = tensor.unflatten(0, (len(live), -1))
            ours[chosen] = theirs[positions]

    def restore(self, part: FusionNet) -> None:
        """Put all members back."""
        for key, tensor in part.state_dict(keep_vars=True).items():
            _replace(part, key, tensor, self.state[key])


@torch.no_grad()
def _take(net: nn.Module, n_members: int, kept: Tensor) -> None:
    """Leave only some members in a net."""
    for key, tensor in net.state_dict(keep_vars=True).items():
        left = tensor.detach().unflatten(0, (n_members, -1))[kept].flatten(0, 1)
        _replace(net, key, tensor, left)


def _replace(net: nn.Module, key: str, old: Tensor, new: Tensor) -> None:
    """Give a net other parameters, or buffers, of perhaps another number of members."""
    if isinstance(old, nn.Parameter):
        old.data, old.grad = new, None
    else:
        owner, _, leaf = key.rpartition(".")
        setattr(net.get_submodule(owner), leaf, new)


def _numbered(teams: Sequence[Team]) -> NDArray[np.intp]:
    """Return the team of every member, from 0 on."""
    numbers: NDArray[np.intp] = np.unique([own.number for own in teams], return_inverse=True)[1]
    return numbers


def _known_by(teams: Sequence[Team], like: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Return constants `(E, 1, C)` and doubts `(E, 1)` of members, where they have teams."""
    if not teams:
        return None, None
    constants = torch.stack([own.constant for own in teams]).unsqueeze(1)
    doubts = torch.tensor([[own.doubt] for own in teams], dtype=torch.float64)
    return constants.to(like), doubts.to(like)


def _objective_of(members: Sequence[Member], like: Tensor) -> tuple[Objective, list[Tensor]]:
    """Return an objective for all members, and what each of its penalties weighs in each."""
    penalties = [copy.copy(penalty) for penalty in members[0].objective.penalties]
    lambdas = [[float(p.reg_lambda) for p in m.objective.penalties] for m in members]
    weights = torch.tensor(lambdas, dtype=torch.float64).to(like)
    return Objective(members[0].objective.loss, penalties), list(weights.T)


def _mean_losses(losses: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """Return the mean losses over batches, in float64."""
    share = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
    total: Tensor = torch.stack(list(losses)).double().T @ hand_over(share, losses[0].device)
    return total
