"""Made-up sequences in which nothing matters but what happens at the same moment."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from sklearn_mmfuse._data import MultimodalData
from sklearn_mmfuse._decomposition import Decomposition
from sklearn_mmfuse._random import Seed, generator
from sklearn_mmfuse._terms import Term
from sklearn_mmfuse.datasets._interactions import check_count, check_noise

__all__ = ["make_synchronous"]

HEIGHT = 3.0  # of the feature that shows an event
WIDTHS = {"audio": 4, "text": 6}
CHUNK = 2048


def make_synchronous(
    n_samples: int = 1000,
    *,
    n_steps: int = 12,
    n_events: int = 2,
    noise: float = 0.5,
    random_state: Seed = None,
) -> Bunch:
    """Make two aligned sequences whose class is whether an event of both falls on one step.

    Each modality has `n_events` events, at steps that are uniform in either class: neither one
    modality, nor the mean over steps of both, says anything about the class.

    Parameters
    ----------
    n_samples : int, default=1000
        Rows.
    n_steps : int, default=12
        The longest sequence; lengths are uniform from there down to the larger of half of it and
        twice `n_events`. Both modalities of a row are equally long; padding is NaN.
    n_events : int, default=2
        Events in each modality of a row. An event is a first feature of 3 instead of 0.
    noise : float, default=0.5
        Standard deviation of the noise on all features.
    random_state : int, RandomState or None, default=None
        Seeds the draws; None takes fresh entropy.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        `data` (MultimodalData: audio (n, n_steps, 4) and text (n, n_steps, 6)); `target`, 1 where
        an event coincides and 0 elsewhere, half of the rows each; `events`, for each modality a
        (n, n_steps) array of where they are; `contributions`, the true Decomposition of the
        target: its pure effects over these rows. Modalities of different rows coincide less often
        than those of one, and short sequences more often than long ones, so that there are small
        effects of single modalities; `DESCR`.

    Raises
    ------
    ValueError
        When there are too few steps to keep the events of both modalities apart.

    Examples
    --------
    >>> from sklearn_mmfuse.datasets import make_synchronous
    >>> toy = make_synchronous(100, random_state=0)
    >>> together = (toy.events["audio"] & toy.events["text"]).any(axis=1)
    >>> bool((together == toy.target).all())
    True
    >>> toy.contributions
    <Decomposition of 100 samples: audio, text, audio × text>
    """
    check_count("n_samples", n_samples)
    for name, value in (("n_steps", n_steps), ("n_events", n_events)):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1; got {value!r}.")
    if n_steps < 2 * n_events:
        raise ValueError(
            f"{n_events} events in each of two modalities need at least {2 * n_events} steps to be "
            f"apart; got n_steps={n_steps}."
        )
    check_noise(noise)
    rng = generator(random_state)
    target = rng.permutation(np.arange(n_samples) % 2)
    shortest = max(n_steps // 2, 2 * n_events)
    lengths = rng.randint(shortest, n_steps + 1, size=n_samples)
    events = {name: np.zeros((n_samples, n_steps), dtype=bool) for name in WIDTHS}
    for row in range(n_samples):
        _place(rng, row, int(lengths[row]), n_events, bool(target[row]), events)
    padded = np.arange(n_steps) >= lengths[:, np.newaxis]
    blocks = {}
    for name, width in WIDTHS.items():
        block = noise * rng.normal(size=(n_samples, n_steps, width))
        block[..., 0] += HEIGHT * events[name]
        block[padded] = np.nan
        blocks[name] = block
    return Bunch(
        data=MultimodalData(blocks),
        target=target,
        events=events,
        contributions=_true_contributions(events),
        DESCR=(
            f"Sequences of {shortest} to {n_steps} steps with {n_events} events in each modality; "
            "the class is whether any step has an event in both."
        ),
    )


def _place(
    rng: np.random.RandomState,
    row: int,
    length: int,
    n_events: int,
    together: bool,
    events: dict[str, NDArray[np.bool_]],
) -> None:
    """Place the events of a row: disjoint, or with one step in common."""
    steps = rng.permutation(length)
    first, others = steps[:n_events], steps[n_events:]
    second = np.append(first[:1], others[: n_events - 1]) if together else others[:n_events]
    one, other = rng.permutation(list(events))  # neither modality is drawn first
    events[one][row, first] = True
    events[other][row, second] = True


def _true_contributions(events: dict[str, NDArray[np.bool_]]) -> Decomposition:
    """Return the effects of "any step has an event in both", over all pairs of these rows."""
    one, other = (where.astype(np.float32) for where in events.values())
    mean_of_one, mean_of_other = np.empty(len(one)), np.zeros(len(one))
    for start in range(0, len(one), CHUNK):
        coincide = one[start : start + CHUNK] @ other.T > 0
        mean_of_one[start : start + CHUNK] = coincide.mean(axis=1)
        mean_of_other += coincide.sum(axis=0) / len(one)
    bias = mean_of_one.mean()
    alone = [mean_of_one - bias, mean_of_other - bias]
    together = (one * other).any(axis=1) - bias - alone[0] - alone[1]
    terms = [*(Term([name]) for name in events), Term(events)]
    values = np.stack([*alone, together], axis=1)[:, :, np.newaxis]
    return Decomposition(values, [bias], terms, "identity", ["y"], method="effects")
