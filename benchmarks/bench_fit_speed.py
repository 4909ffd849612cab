"""One fit against stock skorch: the same module, batch size, epochs and data.

Stock skorch is its DataLoader, its default callbacks and torch's default AdamW; it trains the very
module that the estimator builds, on the same loss. Both are timed in one run, interleaved, and
medians of the ratio are reported.

    python benchmarks/bench_fit_speed.py [--repeats 7]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from skorch import NeuralNet
from torch import nn

from sklearn_mmfuse import MRORegressor

EPOCHS, BATCH, N_SAMPLES = 10, 64, 2000
WIDTHS = {
    75: {"audio": 25, "text": 25, "video": 25},
    956: {"audio": 88, "text": 768, "video": 100},
}
TARGET = {75: 5.0, 956: 2.0}


class Stock(nn.Module):
    """Hands skorch's keyword arguments on to the net."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, **X):
        return torch.stack(self.net(X).stages)


class StockLoss(nn.Module):
    """The loss of eq. 9: the sum over stages of the mean squared error."""

    def forward(self, stages, target):
        return 0.5 * (stages[:, 0, :, 0] - target).square().mean(dim=1).sum()


def make_data(widths):
    rng = np.random.default_rng(0)
    X = {name: rng.normal(size=(N_SAMPLES, d)).astype(np.float32) for name, d in widths.items()}
    y = X["text"][:, 0] + X["audio"][:, 0] * X["video"][:, 0]
    return X, (y / y.std()).astype(np.float32)


def make_estimator():
    return MRORegressor(
        max_epochs=EPOCHS,
        batch_size=BATCH,
        early_stopping=False,
        max_grad_norm=None,
        device="cpu",
        random_state=0,
    )


def fit_ours(X, y):
    return make_estimator().fit(X, y)


def fit_stock(X, y, module):
    net = NeuralNet(
        Stock(module),
        StockLoss,
        optimizer=torch.optim.AdamW,
        lr=1e-3,
        max_epochs=EPOCHS,
        batch_size=BATCH,
        train_split=None,
        iterator_train__shuffle=True,
        verbose=0,
    )
    return net.fit(X, y)


def seconds(function, *args):
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    results = {}
    for n_features, widths in WIDTHS.items():
        X, y = make_data(widths)
        template = fit_ours(X, y)  # also warms up
        fit_stock(X, y, template._new_net())
        ours, stock = [], []
        for _ in range(repeats):
            module = template._new_net()
            module.reset_parameters([torch.Generator().manual_seed(0)])
            stock.append(seconds(fit_stock, X, y, module))
            ours.append(seconds(fit_ours, X, y))
        ratio = float(np.median(np.array(stock) / np.array(ours)))
        results[n_features] = {
            "stock_ms_per_epoch": 1e3 * float(np.median(stock)) / EPOCHS,
            "ours_ms_per_epoch": 1e3 * float(np.median(ours)) / EPOCHS,
            "ratio": ratio,
            "target": TARGET[n_features],
        }
        row = results[n_features]
        print(
            f"n={N_SAMPLES}, {n_features} features: stock {row['stock_ms_per_epoch']:.1f}, "
            f"ours {row['ours_ms_per_epoch']:.1f} ms per epoch, {ratio:.2f}x "
            f"(wanted {TARGET[n_features]:g}x)"
        )
    out = Path(__file__).parent / "results" / "fit_speed.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
