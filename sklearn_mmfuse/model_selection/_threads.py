"""How many threads torch may use where several processes work at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from joblib import cpu_count

__all__ = ["fair_threads"]


@contextmanager
def fair_threads(dispatcher: int, n_workers: int) -> Iterator[None]:
    """Use no more than a worker's share of the cores, in processes other than the dispatcher's.

    Processes that each use all cores are many times slower than one thread each. In the process
    that hands out the work, the number of threads is the user's.

    Parameters
    ----------
    dispatcher : int
        The process that hands out the work.
    n_workers : int
        How many work at once.

    Examples
    --------
    >>> import os
    >>> import torch
    >>> from sklearn_mmfuse.model_selection._threads import fair_threads
    >>> before = torch.get_num_threads()
    >>> with fair_threads(os.getpid(), 100):
    ...     torch.get_num_threads() == before
    True
    """
    share = max(1, cpu_count() // max(1, n_workers))
    before = torch.get_num_threads()
    if os.getpid() == dispatcher or before <= share:
        yield
        return
    torch.set_num_threads(share)
    try:
        yield
    finally:
        torch.set_num_threads(before)
