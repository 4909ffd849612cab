"""Clocks: arms in turn, medians and quartiles, the peak of sgemm, memory in a fresh process."""

from __future__ import annotations

import gc
import multiprocessing
import os
import platform
import resource
import sys
import time
import warnings
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

SIDE = 1024


class TooSlowError(Exception):
    """What ran in a fresh process was stopped."""


def be_quiet():
    """Keep the MLP from saying that equal epochs are too few for it to converge."""
    warnings.simplefilter("ignore", ConvergenceWarning)


def synchronize(device):
    if str(device).startswith("cuda"):
        torch.cuda.synchronize(device)


def seconds(function, device):
    """Return how long a call took, to the end of what it left to a GPU, and what it returned."""
    gc.collect()
    synchronize(device)
    start = time.perf_counter()
    result = function()
    synchronize(device)
    return time.perf_counter() - start, result


def race(entries, repeats, device):
    """Run every entry once per repeat, each time in another order.

    Entries take the number of the repeat and return the function to be timed. Returns the seconds
    of each, a list over repeats, and what each returned last.
    """
    names = list(entries)
    times, results = {name: [] for name in names}, {}
    for repeat in range(repeats):
        shift = repeat % len(names)
        for name in names[shift:] + names[:shift]:
            elapsed, results[name] = seconds(entries[name](repeat), device)
            times[name].append(elapsed)
    return times, results


def summary(values):
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": float(median), "q1": float(low), "q3": float(high)}


def ratio(times, reference):
    """Return the ratio of two arms, repeat by repeat."""
    return summary(np.divide(times, reference))


@contextmanager
def threads(n):
    """Give torch and the BLAS of numpy so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        with threadpool_limits(n, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


def sgemm(device, n_threads, rounds=5):
    """Return an entry of `race` that multiplies large matrices; see `gflops`."""
    a, b = (torch.rand(SIDE, SIDE, device=device) for _ in range(2))

    def fastest():
        with threads(n_threads):
            return min(seconds(lambda: torch.mm(a, b), device)[0] for _ in range(rounds))

    return fastest


def gflops(fastest):
    """Return the peak in GFLOP/s, for the seconds of one product."""
    return 2 * SIDE**3 / fastest / 1e9


# Fresh processes ----------------------------------------------------------------------------------


def in_fresh_process(function, *args, limit=None):
    """Return what a function returns in a process of its own.

    With a limit the function takes `announce` as well and calls it where the clock is to start;
    TooSlowError is raised so many seconds later.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, args, limit is not None))
    process.start()
    sender.close()
    try:
        if limit is not None:
            receiver.recv()
            if not receiver.poll(limit):
                raise TooSlowError
        return receiver.recv()
    except EOFError:
        process.join()  # its traceback is on its way
        raise RuntimeError(f"{function.__name__} failed in its process; see above.") from None
    finally:
        process.kill()
        process.join()


def _answer(sender, function, args, announces):
    be_quiet()
    more = {"announce": lambda: sender.send("started")} if announces else {}
    sender.send(function(*args, **more))


def peak_memory(function, device):
    """Return by how many MiB the resident memory of this process rises, and the GPU's peak."""
    on_gpu = str(device).startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    gc.collect()
    before = _forget_peak()
    kept = function()
    peak = _peak_kib() - before
    del kept
    gpu = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else None
    return {"memory_mib": peak / 1024, "gpu_mib": gpu}


def _forget_peak():
    """Start a new peak where the system can (Linux), and return what it starts from, in KiB."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak_kib()


def _peak_kib():
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


def setting(**more):
    """Return what figures depend on."""
    packages = ("torch", "scikit-learn", "skorch", "numpy")
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "cpus": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "load_at_start": os.getloadavg()[0],
        **more,
    }
