"""A user's own torch modules, one per copy."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sklearn_mmfuse.nets._encoders._base import Encoder, EncoderSpec, split_padding

__all__ = ["UserEncoder", "global_generator"]

_LOCK = threading.RLock()


@contextmanager
def global_generator(seed: int) -> Iterator[None]:
    """Seed torch's global generators for a while and leave them as they were.

    Modules of others draw from them, so one thread at a time.
    """
    with _LOCK, torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


class UserEncoder(Encoder):
    """Modules that a user's factory makes, looped over.

    **Shape**: `(E * R, B, *sample)` to `(E * R, B, width)`. Each module maps `(B, *sample)` to
    `(B, width)`. A module whose `forward` takes `mask` is told which steps are no padding,
    `(B, T)`; any other gets rows of equal length at a time.

    Parameters
    ----------
    spec : EncoderSpec
        Its kind is the factory.
    n_members, n_copies : int
        E and R.
    activation : str
        Unused.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sklearn_mmfuse.nets._encoders import EncoderSpec, UserEncoder
    >>> spec = EncoderSpec(lambda: nn.Linear(3, 8), shape=(3,), width=8)
    >>> user = UserEncoder(spec, n_members=1, n_copies=2, activation="relu")
    >>> user(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self, spec: EncoderSpec, *, n_members: int, n_copies: int, activation: str
    ) -> None:
        super().__init__()
        assert callable(spec.kind)
        self.factory: Callable[[], nn.Module] = spec.kind
        self.n_copies = n_copies
        self.is_sequence = len(spec.shape) == 2
        with global_generator(0):
            self.copies = nn.ModuleList(self.factory() for _ in range(n_members * n_copies))
        takes = inspect.signature(self.copies[0].forward).parameters
        self.takes_mask = self.is_sequence and "mask" in takes

    def reset_copy(self, copy: int, generators: Sequence[torch.Generator]) -> None:
        """Make new modules with the global generator seeded from each member's own."""
        for member, generator in enumerate(generators):
            seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
            with global_generator(seed):
                drawn = self.factory()
            position = member * self.n_copies + copy
            self.copies[position].load_state_dict(drawn.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        """Return what each module makes of its rows."""
        return torch.stack(
            [self._call(module, rows) for module, rows in zip(self.copies, x, strict=True)]
        )

    def _call(self, module: nn.Module, rows: Tensor) -> Tensor:
        if not self.is_sequence:
            out: Tensor = module(rows)
            return out
        zeroed, valid = split_padding(rows)
        if self.takes_mask:
            out = module(zeroed, mask=valid)
            return out
        lengths = valid.sum(dim=1)
        if bool((lengths == rows.shape[1]).all()):
            out = module(zeroed)
            return out
        # Padding comes last, so rows of equal length can be cut to it: none is ever seen.
        pieces, order = [], []
        for length in lengths.unique():
            here = (lengths == length).nonzero().squeeze(1)
            pieces.append(module(zeroed[here, : max(int(length), 1)]))
            order.append(here)
        return torch.cat(pieces)[torch.cat(order).argsort()]
