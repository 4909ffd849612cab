"""How many threads torch may use where several processes work at once."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

from joblib import cpu_count

from sklearn_mmfuse._training import at_most

__all__ = ["fair_threads"]


def fair_threads(dispatcher: int, n_workers: int) -> AbstractContextManager[None]:
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
    if os.getpid() == dispatcher:
        return nullcontext()
    return at_most(max(1, cpu_count() // max(1, n_workers)))
