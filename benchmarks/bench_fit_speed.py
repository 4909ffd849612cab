"""One fit against stock skorch: the same module, batch size, epochs and data.

Stock skorch is its DataLoader, its default callbacks and torch's default AdamW, on the same loss.
It trains the very module that the estimator builds ("same"), and the same model written as one
writes it ("ordinary"): one `nn.Sequential` per term. All are timed in one run, interleaved; the
ratio is the median over repeats. Our time is that of the whole `fit`: validation of the input,
statistics, training, and the contributions of the training rows.

    python benchmarks/bench_fit_speed.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch
from skorch import NeuralNet
from torch import nn

from sklearn_mmfuse import MRORegressor

EPOCHS, N_SAMPLES = 20, 2000
WIDTHS = {
    75: {"audio": 25, "text": 25, "video": 25},
    956: {"audio": 88, "text": 768, "video": 100},
}
WANTED = {75: 5.0, 956: 2.0}


class Same(nn.Module):
    """The estimator's own net; skorch passes modalities as keyword arguments."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, **X):
        return self.net(X).stages


class Ordinary(nn.Module):
    """The same model as one writes it: an `nn.Sequential` per term, in a loop."""

    def __init__(self, net):
        super().__init__()
        self.modalities = [term.modalities for term in net.terms]
        widths = [sum(net.in_features[name] for name in names) for names in self.modalities]
        self.nets = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 1)) for width in widths
        )

    def forward(self, **X):
        orders = [0.0, 0.0, 0.0]
        for names, net in zip(self.modalities, self.nets, strict=True):
            x = torch.cat([X[name] for name in names], dim=1)
            orders[len(names) - 1] = orders[len(names) - 1] + net(x)
        uni, bi, tri = orders
        stages = [uni, uni.detach() + bi, (uni + bi).detach() + tri]
        return torch.stack(stages).unsqueeze(1)


class StockLoss(nn.Module):
    """The loss of eq. 9: the sum over stages of the mean squared error."""

    def forward(self, stages, target):
        return (stages[:, 0, :, 0] - target).square().mean(dim=1).sum()


def make_data(widths):
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=(N_SAMPLES, d)).astype(np.float32) for name, d in widths.items()}
    y = X["text"][:, 0] + X["audio"][:, 0] * X["video"][:, 0]
    return X, (y / y.std()).astype(np.float32)


def make_estimator(batch_size):
    return MRORegressor(
        max_epochs=EPOCHS,
        batch_size=batch_size,
        early_stopping=False,
        max_grad_norm=None,
        device="cpu",
        random_state=0,
    )


def fit_ours(X, y, batch_size):
    return make_estimator(batch_size).fit(X, y)


def fit_stock(X, y, module, batch_size):
    net = NeuralNet(
        module,
        StockLoss,
        optimizer=torch.optim.AdamW,
        lr=1e-3,
        max_epochs=EPOCHS,
        batch_size=batch_size,
        train_split=None,
        iterator_train__shuffle=True,
        verbose=0,
    )
    return net.fit(X, y)


def seconds(function, *args):
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def compare(X, y, wrap, batch_size, repeats):
    """Return seconds per fit, `(repeats, 2)`: stock skorch, and the estimator."""
    template = fit_ours(X, y, batch_size)
    times = []
    for repeat in range(repeats + 1):  # the first pass warms up
        module = template._new_net()
        module.reset_parameters([torch.Generator().manual_seed(repeat)])
        stock = seconds(fit_stock, X, y, wrap(module), batch_size)
        times.append((stock, seconds(fit_ours, X, y, batch_size)))
    return np.array(times[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    results = {}
    print(f"n={N_SAMPLES}, 3 modalities, ms per epoch (medians of {repeats})")
    for (n_features, widths), batch_size, wrap in product(
        WIDTHS.items(), (64, 128), (Same, Ordinary)
    ):
        X, y = make_data(widths)
        times = compare(X, y, wrap, batch_size, repeats)
        stock, ours = 1e3 * np.median(times, axis=0) / EPOCHS
        ratio = float(np.median(times[:, 0] / times[:, 1]))
        row = {"stock_ms": stock, "ours_ms": ours, "ratio": ratio, "wanted": WANTED[n_features]}
        results[f"{n_features} features/batch {batch_size}/{wrap.__name__}"] = row
        print(
            f"{n_features:>4} features, batch {batch_size:>3}, {wrap.__name__.lower():>8} module: "
            f"stock {stock:6.1f}, ours {ours:6.1f}: {ratio:.2f}x (wanted {WANTED[n_features]:g}x)",
            flush=True,
        )
    out = Path(__file__).parent / "results" / "fit_speed.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
