"""How many of torch's threads small products are worth."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from sklearn_mmfuse.nets import Inputs

__all__ = ["at_most", "few_threads", "work_of"]

# Multiplications of one product that are worth a thread. With fewer, a second one gains a tenth on
# an idle machine; on a busy one, where all wait for the one that has no core, a step takes up to
# 40 times as long.
WORTH_A_THREAD = 2**26


def few_threads(work: float) -> AbstractContextManager[None]:
    """Use no more of torch's threads than so many multiplications at once are worth.

    In the main thread alone: elsewhere, threads that start meanwhile would keep what is set here.

    Parameters
    ----------
    work : float
        Multiplications of the largest product.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mmfuse._training._threads import few_threads
    >>> before = torch.get_num_threads()
    >>> with few_threads(1e6):
    ...     torch.get_num_threads()
    1
    >>> torch.get_num_threads() == before
    True
    """
    if threading.current_thread() is not threading.main_thread():
        return nullcontext()
    return at_most(max(1, int(work // WORTH_A_THREAD)))


@contextmanager
def at_most(n_threads: int) -> Iterator[None]:
    """Use so many of torch's threads, or fewer where the user wants fewer."""
    before = torch.get_num_threads()
    if before <= n_threads:
        yield
        return
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def work_of(net: nn.Module, X: Inputs, n_rows: int) -> int:
    """Return about how many multiplications the largest product of a net takes for so many rows.

    What encodes all steps or pixels at once multiplies its weights by each of them.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sklearn_mmfuse._training._threads import work_of
    >>> work_of(nn.ParameterList([torch.zeros(3, 2)]), {"a": torch.zeros(9, 3)}, 5)
    30
    """
    # (n, d), (n, T, d) or (n, channels, height, width)
    positions = max(math.prod(x.shape[1:2] if x.dim() == 3 else x.shape[2:]) for x in X.values())
    encoding = {
        id(parameter)
        for module in net.modules()
        if getattr(module, "at_once", False)  # an `Encoder`, or several modalities' together
        for parameter in module.parameters()
    }
    sizes = (
        parameter.numel() * (positions if id(parameter) in encoding else 1)
        for parameter in net.parameters()
        if not nn.parameter.is_lazy(parameter)
    )
    return n_rows * max(sizes, default=0)
