"""What the centering of IterBN costs: a forward and a backward pass, interleaved, medians.

- Products: the plain outer product and its linear read-out against the centered, normalized one.
- Nets, whole steps: InTense with normalization="iterbn" against the same net without any, whose
  products are formed and then read ("plain", an ordinary tensor fusion), or read as ours are
  ("plain, not formed").

    python benchmarks/bench_iterbn.py [--rounds 60]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from sklearn_mmfuse._terms import interaction_terms
from sklearn_mmfuse.nets import InTenseNet
from sklearn_mmfuse.nets._centering import Products, centering_constants
from sklearn_mmfuse.nets._tensor_product import outer_product

OUT = Path(__file__).parent / "results" / "iterbn.json"
DIM = 8


def plain(factors, weight, _):
    return outer_product(factors) @ weight


def centered(factors, weight, share):
    products = Products(factors, share)
    moments = products.moments(smallest=2)
    constants = centering_constants(moments, len(factors))
    return products.read(constants, weight) * products.scale(constants, moments)


class PlainProducts(Products):
    """Products that are formed before they are read."""

    def read(self, constants, weight):
        return self.outer(self.every) @ weight


class PlainNet(InTenseNet):
    """Ordinary tensor fusion."""

    def _pieces(self, factor, order, weight=None):
        pieces = super()._pieces(factor, order, weight)
        return [PlainProducts(piece.factors) for piece in pieces]


def race(steps, rounds):
    """Return the median seconds of each step, run in turn."""
    times = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(seconds[rounds // 5 :])) for name, seconds in times.items()}


def products(order, n_products, n_rows, rounds):
    generator = torch.Generator().manual_seed(0)
    factors = [
        torch.randn(n_products, n_rows, DIM, generator=generator, requires_grad=True)
        for _ in range(order)
    ]
    weight = torch.randn(n_products, DIM**order, 1, generator=generator, requires_grad=True)
    share = torch.full((1, n_rows), 1 / n_rows)

    def step(function):
        return lambda: function(factors, weight, share).square().sum().backward()

    return race({"plain": step(plain), "iterbn": step(centered)}, rounds)


def nets(n_modalities, max_order, n_rows, rounds):
    names = [f"m{i}" for i in range(n_modalities)]
    X = {name: torch.randn(n_rows, 20) for name in names}
    y = torch.randn(n_rows)

    def step(net_class, normalization):
        net = net_class(
            in_features=dict.fromkeys(names, 20),
            terms=interaction_terms(names, max_order),
            n_outputs=1,
            n_members=1,
            input_scaling=None,
            hidden=(64,),
            activation="relu",
            tensor_dim=DIM,
            normalization=normalization,
            p=1.0,
            reg_lambda=0.01,
        )
        net.reset_parameters([torch.Generator().manual_seed(0)])

        def run():
            net.zero_grad()
            error = (net(X).raw[0, :, 0] - y).square().mean()
            (error + net.regularizer().sum()).backward()

        return run

    steps = {
        "plain": step(PlainNet, None),
        "plain, not formed": step(InTenseNet, None),
        "iterbn": step(InTenseNet, "iterbn"),
    }
    return race(steps, rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    results = {}
    for order, n_products, n_rows in (
        (2, 3, 128),
        (2, 45, 128),
        (3, 1, 128),
        (3, 1, 512),
        (3, 1, 2048),
        (3, 10, 128),
        (3, 10, 512),
        (3, 120, 128),
    ):
        key = f"order {order}, {n_products} products, {n_rows} rows"
        results[key] = products(order, n_products, n_rows, rounds)
    for n_modalities, max_order, n_rows in ((3, 2, 128), (3, 3, 128), (5, 3, 128), (5, 3, 1024)):
        key = f"net of {n_modalities} modalities, order {max_order}, {n_rows} rows"
        results[key] = nets(n_modalities, max_order, n_rows, rounds)
    for key, seconds in results.items():
        ratio = seconds["iterbn"] / seconds["plain"]
        shown = ", ".join(f"{name} {1e3 * s:.2f} ms" for name, s in seconds.items())
        print(f"{key:<44}{ratio:.2f}x   {shown}")
    OUT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
