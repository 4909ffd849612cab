"""The arms of one fit: each is prepared, untimed, and then returns a function to be timed.

That function fits once and returns another, which predicts classes from a problem's test rows.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNet

from benchmarks.settings import earlier
from benchmarks.speed.cases import HIDDEN
from benchmarks.speed.modules import Ordinary, Same, StageLoss
from sklearn_mmfuse import MROClassifier

RATE, DECAY = 1e-3, 1e-4
FEW_ROWS = 64


def make_ours(case, **params):
    return earlier(
        MROClassifier,
        max_epochs=case.epochs,
        batch_size=case.batch_size,
        early_stopping=False,
        max_grad_norm=None,
        device=case.device,
        random_state=0,
        **params,
    )


def make_mlp(case, hidden, **params):
    return MLPClassifier(
        (hidden,),
        batch_size=case.batch_size,
        max_iter=case.epochs,
        n_iter_no_change=case.epochs + 1,
        tol=0.0,
        random_state=0,
        **params,
    )


def skorch_params(case):
    """Return stock settings, but for a training without a validation split, and in random order."""
    return {
        "optimizer": torch.optim.AdamW,
        "optimizer__weight_decay": DECAY,
        "lr": RATE,
        "max_epochs": case.epochs,
        "batch_size": case.batch_size,
        "train_split": None,
        "iterator_train__shuffle": True,
        "device": case.device,
        "verbose": 0,
    }


def ours(problem, seed):
    def fit():
        model = make_ours(problem.case).fit(problem.X, problem.y)
        return lambda: model.predict(problem.X_test)

    return fit


def stock(problem, seed):
    case = problem.case
    return _skorch(
        problem, seed, Ordinary, module__widths=case.widths, module__subsets=case.subsets
    )


def same(problem, seed):
    few = {name: x[:FEW_ROWS] for name, x in problem.X.items()}  # enough to have a net built
    model = make_ours(problem.case.with_(epochs=1)).fit(few, problem.y[:FEW_ROWS])
    net = copy.deepcopy(model.module_)
    net.reset_parameters([torch.Generator().manual_seed(seed)])
    return _skorch(problem, seed, Same(net))


def _skorch(problem, seed, module, **params):
    def fit():
        torch.manual_seed(seed)
        net = NeuralNet(module, StageLoss, **skorch_params(problem.case), **params)
        net.fit(problem.X, problem.y)
        return lambda: net.predict(problem.X_test)[:, 1] > 0.5

    return fit


def loop(problem, seed):
    """Write the training by hand: tensors once, a permutation per epoch, fused AdamW."""
    case = problem.case

    def fit():
        torch.manual_seed(seed)
        device = torch.device(case.device)
        X = {name: torch.from_numpy(x).to(device) for name, x in problem.X.items()}
        y = torch.from_numpy(problem.y).to(device, torch.float32)
        module, loss = Ordinary(case.widths, case.subsets).to(device), StageLoss()
        adam = torch.optim.AdamW(module.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
        for _ in range(case.epochs):
            for rows in torch.randperm(case.n, device=device).split(case.batch_size):
                adam.zero_grad()
                batch = {name: x.index_select(0, rows) for name, x in X.items()}
                loss(module(**batch), y.index_select(0, rows)).backward()
                adam.step()
        return lambda: _logits(module, problem, device) > 0

    return fit


@torch.no_grad()
def _logits(module, problem, device):
    X = {name: torch.from_numpy(x).to(device) for name, x in problem.X_test.items()}
    return module(**X)[0].cpu().numpy()


def mlp(problem, seed):
    """As many hidden units as all terms together."""
    return _mlp(problem, HIDDEN * len(problem.case.subsets))


def small_mlp(problem, seed):
    """As many hidden units as one term."""
    return _mlp(problem, HIDDEN)


def _mlp(problem, hidden):
    X, X_test = problem.side_by_side, problem.test_side_by_side

    def fit():
        model = make_mlp(problem.case, hidden).fit(X, problem.y)
        return lambda: model.predict(X_test)

    return fit


def ebm(problem, seed):
    """Fit an additive model of trees with its defaults: it knows neither epochs nor batches."""
    from interpret.glassbox import ExplainableBoostingClassifier

    X, X_test = problem.side_by_side, problem.test_side_by_side

    def fit():
        model = ExplainableBoostingClassifier(n_jobs=1, random_state=0).fit(X, problem.y)
        return lambda: model.predict(X_test)

    return fit


ARMS = {
    "ours": ours,
    "stock": stock,
    "same": same,
    "loop": loop,
    "mlp": mlp,
    "small mlp": small_mlp,
}
SAME_FUNCTIONS = ("ours", "stock", "same", "loop")  # whose steps have the FLOPs of `Case`
ALL_ARMS = {**ARMS, "ebm": ebm}


def accuracy(predict, problem):
    return float(np.mean(np.asarray(predict()).astype(np.int64) == problem.y_test))
