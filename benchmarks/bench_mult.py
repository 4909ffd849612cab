"""One training step of the MulT encoder beside `nn.TransformerEncoder` of equal size.

Interleaved, medians of forward and backward passes on one thread (or on a GPU: `--device cuda`).
"alone": every sequence attends to itself, with as many layers and heads of equal width, perceptrons
of equal width, one `nn.TransformerEncoder` per modality. "pair" and "triple": a subset of two or
three modalities, beside as many `nn.TransformerEncoder` as the subset has streams: every ordered
pair of modalities and every modality. "all": all seven subsets of three modalities.

    python benchmarks/bench_mult.py [--repeats 15] [--device cpu]
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sklearn_mmfuse.nets import EncoderSpec
from sklearn_mmfuse.nets._encoders import MulTEncoder

WIDTH, LAYERS, HEADS, KERNEL = 64, 2, 4, 3
FEATURES = {"audio": 40, "text": 100, "video": 30}
SETTINGS = {
    "aligned, 20 steps": {"audio": 20, "text": 20, "video": 20},
    "unaligned, 80 / 20 / 40 steps": {"audio": 80, "text": 20, "video": 40},
}
BATCH = 32


class Streams(nn.Module):
    """An input layer and a transformer for each stream; queries decide its length.

    Parameters
    ----------
    groups : list of tuple of str
        The subsets.
    """

    def __init__(self, groups):
        super().__init__()
        self.streams = [
            stream
            for group in groups
            for stream in [*((name, name) for name in group), *permutations(group, 2)]
        ]
        self.inputs = nn.ModuleList(
            nn.Conv1d(FEATURES[name], WIDTH, KERNEL, padding=1) for name, _ in self.streams
        )
        self.transformers = nn.ModuleList(
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(
                    WIDTH, HEADS, 2 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
                ),
                LAYERS,
                norm=nn.LayerNorm(WIDTH),
                enable_nested_tensor=False,
            )
            for _ in self.streams
        )

    def forward(self, x, padding):
        """Return the sum of the last steps of all streams."""
        total = 0.0
        for (name, _), convolution, transformer in zip(
            self.streams, self.inputs, self.transformers, strict=True
        ):
            steps = convolution(x[name].transpose(1, 2)).transpose(1, 2)
            total = total + transformer(steps, src_key_padding_mask=padding[name])[:, -1]
        return total


def subsets(orders):
    return [group for order in orders for group in combinations(sorted(FEATURES), order)]


def make_steps(groups, n_steps, device, *, pad):
    """Return one training step of each kind."""
    specs = {
        name: EncoderSpec("mult", (None, width), WIDTH, (("n_heads", HEADS), ("n_layers", LAYERS)))
        for name, width in FEATURES.items()
        if any(name in group for group in groups)
    }
    ours = MulTEncoder(specs, groups=groups, n_members=1, activation="relu")
    for position, group in enumerate(groups):
        for name in group:
            ours.reset_slot(position, name, [torch.Generator().manual_seed(0)])
    theirs = Streams(groups).to(device)
    ours = ours.to(device)
    x = {name: torch.randn(1, BATCH, n_steps[name], FEATURES[name]).to(device) for name in specs}
    clean = {name: block[0].clone() for name, block in x.items()}
    padding = dict.fromkeys(x)
    if pad:
        for name, block in x.items():
            block[:, ::2, n_steps[name] // 2 :] = torch.nan
            padding[name] = block[0, :, :, 0].isnan()

    def step_ours():
        ours.zero_grad()
        sum(value.square().mean() for value in ours(x).values()).backward()

    def step_theirs():
        theirs.zero_grad()
        theirs(clean, padding).square().mean().backward()

    return {"ours": step_ours, "torch": step_theirs}


def measure(steps, repeats, device):
    times = {name: [] for name in steps}
    for repeat in range(repeats + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if device == "cuda":
                torch.cuda.synchronize()
            if repeat > 1:
                times[name].append(time.perf_counter() - start)
    return {name: 1e3 * float(np.median(values)) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = {}
    print(f"{'one training step, 32 rows':<44}{'ours':>9}{'torch':>9}{'ratio':>8}")
    for setting, n_steps in SETTINGS.items():
        for name, groups in (
            ("alone", subsets([1])[:1]),
            ("pair", subsets([2])[:1]),
            ("triple", subsets([3])),
            ("all", subsets([1, 2, 3])),
        ):
            for pad in (False, True):
                steps = make_steps(groups, n_steps, options.device, pad=pad)
                found = measure(steps, options.repeats, options.device)
                ratio = found["ours"] / found["torch"]
                key = f"{setting}, {name}{', half padded' if pad else ''}"
                results[key] = {**found, "ratio": ratio}
                print(
                    f"{key:<44}{found['ours']:>7.1f}ms{found['torch']:>7.1f}ms{ratio:>8.2f}",
                    flush=True,
                )
    out = Path(__file__).parent / "results" / f"mult_{options.device}.json"
    out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
