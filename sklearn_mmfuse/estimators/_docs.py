"""The documentation of what all estimators share, written once."""

from __future__ import annotations

import inspect
from typing import TypeVar

__all__ = ["documents_common"]

Class = TypeVar("Class", bound=type)

PARAMETERS = """\
modalities : list of str or dict of str to selector, default=None
        Which modalities to use, and in what order; or, for arrays and frames without names, which
        columns make up each modality (every selector kind of `ColumnTransformer`). None takes all
        that `X` names.
    encoder : str, callable or dict of str to either, default="auto"
        What turns each modality into a vector. For sequences (n, T, d) "gru" ("auto"), "lstm",
        "transformer", "conv1d" (does a motif occur?), "mean" (over the steps) or "mult" (the
        sequences of a term attend to each other, where a method reads them together: MRO with
        `fusion="concat"` and encoders of its own for every term, Routing, SMURF from `max_order=2`
        on; elsewhere each to itself); for images (n, C, H, W) "conv2d"; for feature vectors "mlp",
        which is the perceptrons that there are anyway, or "identity", which leaves them out where a
        method can do without (InTense). A name is used wherever it fits. A dict chooses by
        modality, also with options: `{"dna": {"name": "conv1d", "width": 32, "kernel_size": 11}}`.
        A callable returns a new torch module from `(n, *sample)` to `(n, width)`. Time steps that
        are NaN are padding.
    hidden_layer_sizes : int or tuple of int, default=(64,)
        Widths of the hidden layers of every perceptron; `()` makes them linear, which wants larger
        steps: `learning_rate=0.05`.
    activation : {"relu", "gelu", "silu", "tanh"}, default="relu"
        Applied after each hidden layer.
    dropout : float, default={dropout}
        The probability with which a hidden unit is dropped in a training step.
    input_scaling : {"standard", "clip", None}, default="clip"
        Standardize every feature by its mean and standard deviation over the training rows; "clip"
        also clips at 3 standard deviations.
    numerical_embedding : {"plr", None}, default="plr"
        What perceptrons read of feature vectors of up to 64 features: "plr" adds four slow waves of
        each (standardized) feature, of random frequency and phase, which make curves and thresholds
        easier to learn. Wider ones are read as they are, and all are without hidden layers.
    learning_rate : float, default=3e-3
        Step size of AdamW, at its largest; weights that read many features take smaller steps.
    learning_rate_schedule : {"cosine", "constant"}, default="cosine"
        "cosine" rises over the first tenth of `max_epochs` and then falls to zero. With a scheduler
        of your own in `net_params`, choose "constant".
    weight_decay : float or "auto", default="auto"
        Decoupled weight decay of AdamW: in a step, a weight shrinks by `weight_decay` times the
        step size. "auto" is 8 / (steps per epoch), so that a training of default length and
        learning rate shrinks what no gradient holds to a third, however many rows there are; less
        where the last of `hidden_layer_sizes` is below 64, in proportion (1/64 of it for linear
        nets), and 0.01 where a language model is pretrained. With "auto", perceptrons of MRO that
        read several modalities decay more, at least once and at most five times as much:
        `7 * sqrt(features / rows)` times, of all feature vectors together and of the rows trained
        on; not with shared encoders, which have no perceptrons of several modalities' features.
        Biases are not decayed; products of MRO (`product_rank`) twice
        as much, but in the second half of `max_epochs` only, which nets that stop early may not
        reach.
    batch_size : int or "auto", default="auto"
        Rows per step; "auto" is 128, or all rows when there are fewer.
    max_epochs : int, default=100
        Passes over the training rows; what a schedule is laid out for.
    early_stopping : bool, "cv" or "auto", default="auto"
        When training ends. True: watch the loss on validation rows, stop when it no longer falls
        and keep the weights of the best epoch. "cv": do so in five folds at once, then train on all
        rows for as many epochs as suited those left out best, and multiply what log-odds are beyond
        those of the class shares by the one factor that did, since few rows make nets too sure (or
        not sure enough); two to five times as long.
        False: after `max_epochs`. "auto" is True when `validation_fraction` names the rows; else
        "cv" with 32 to {most_folded} samples of vectors, from 500 on with two of the five folds
        (not with a class that one fold alone has, with `net_params` or modules of your own, and in
        mutual-dependency maximization not where modalities are absent); else True from 500 samples
        on, and False below; False with one group, for there is no other to watch.
    validation_fraction : float or splitter, default=0.1
        The share of rows to watch: stratified by class, and whole groups when `fit` receives
        `groups`. Or a scikit-learn splitter, or a list of `(train, validation)` pairs, whose first
        split is taken (`PredefinedSplit` names rows explicitly). With "cv", all of its splits are
        the folds, and a number means nothing.
    n_iter_no_change : int, default=20
        Epochs without a better one before training stops early.
    max_grad_norm : float or None, default=5.0
        Gradients with a larger norm are scaled down to it.
    missing : {"recover", "drop", "error"}, default="recover"
        What happens where a modality is absent from a row: all its values are NaN, or it is left
        out when predicting. Such rows train the nets of what they have. In a prediction, "recover"
        scales the contributions that are there so as to come closest to the full prediction, by
        what was learned about both from complete training rows; "drop" leaves an absent
        contribution at its training mean; "error" refuses such rows.
    modality_dropout : float, default=0.0
        The probability with which a row loses a modality in a training step; one is always kept.
    n_members : int, default=1
        Nets trained at once and averaged, each from a seed of its own; the first is the net that
        there would be alone. `decompose` then has `standard_errors`, of the mean over nets. Torch
        modules of your own are trained one at a time only.
    bootstrap : bool, default=False
        Train each of several nets on rows drawn anew, or on persons where `fit` receives `groups`:
        their scatter then also shows what other samples would have taught.
    dtype : {"float32", "float64"}, default="float32"
        Precision of the net.
    device : str, default="auto"
        Where to train: "auto" takes a GPU when there is one. Predictions are made on the CPU.
    net_params : dict, default=None
        Passed to the skorch `NeuralNet` that trains (callbacks, optimizer, ...).
    random_state : int, RandomState or None, default=None
        Covers initial weights, the order of rows, dropout, validation rows and folds. Global
        generators are never touched; None takes fresh entropy.
    verbose : int, default=0
        1 prints a line per epoch. See also `set_callbacks(ProgressBar())`."""

FUSIONS = """\
fusion : str, default={fusion}
        How modalities come together. Of any data, sequences by their `encoder`:
        "late" (a net per modality, added up), "concat" (early: one net on all side by side),
        "tensor" (TFN: the outer product of embeddings), "low_rank" (LMF: the same by factors).
        Of sequences: "lf_lstm" (an LSTM each), "mult" (they attend to each other).
        Of sequences with the same time steps: "ef_lstm" (one LSTM on all side by side), "mfn"
        (LSTMs and a memory across them), "raven" (an LSTM over words that the others shift).
        Of token ids and sequences with the same steps: "mag" (a pretrained language model whose
        words the others shift; needs `pip install sklearn-mmfuse[transformers]`).
    tensor_dim : int, default=8
        The width of an embedding, for "tensor" and "low_rank".
    rank : int, default=4
        Factors per modality, for "low_rank".
    state_dim : int, default=64
        The width of recurrent states and memories, for "lf_lstm" (where `encoder` is silent),
        "ef_lstm", "mfn" and "raven".
    language : str, default="text"
        Which modality the words are, for "raven" and "mag".
    shift : float, default=1.0
        How far words are shifted at most, in their own length, for "raven" and "mag".
    pretrained : str, default=None
        A folder with, or the hub name of, the language model of "mag", e.g. "bert-base-uncased"."""

DESCRIBED = """\
relevance_scores_ : Series
        Per term, the mean absolute contribution, scaled to add up to 1: over the training rows with
        `fusion="late"`; else pure effects, of every set of modalities, on up to 200 training rows
        without gaps (20 where the net is slow). Effects of three and more modalities are
        estimated by draws. With fewer than two such rows, or more than ten modalities, the net is
        described by its only term. Reading them warns when the model has learned nothing (see
        the README).
    unique_contributions_ : DataFrame
        What each modality contributes alone to each of these rows."""

ATTRIBUTES = """\
relevance_scores_ : Series
        Per term, the mean absolute contribution over the rows of `fit` (and outputs), those that
        early stopping watched among them, weighted as they were; scaled to add up to 1.
        Contributions are centered, so a constant has no relevance. Reading them warns when the
        model is not reliably better than a constant on the rows that early stopping watched (up
        to 500 training rows, where there are no others).
    unique_contributions_ : DataFrame
        What each modality contributes alone to each training row, centered; with several outputs
        the columns are `(output, modality)`.
    terms_ : tuple of Term
        The addends of a prediction.
    modality_names_ : list of str
        The modalities seen in `fit`.
    module_ : torch.nn.Module
        The trained net, on the CPU.
    history_ : list of dict
        Losses and duration of every epoch, of several nets one after the other. "valid_loss" is
        of validation rows, or of all rows by the folds that left them out (with the factor of
        log-odds that suits the epoch, and as if one row more were of any class).
    n_iter_ : int
        Epochs trained; of several nets, by the one that took longest.
    best_epoch_ : int
        The epoch (from 1) whose weights were kept, of that net."""


def documents_common(cls: Class) -> Class:
    """Put the shared parameters and attributes where the class's docstring asks for them."""
    doc, attributes = cls.__doc__ or "", ATTRIBUTES
    if "{described}" in doc:
        doc = doc.replace("{described}", DESCRIBED)
        attributes = attributes[attributes.index("terms_ :") :]
    elif "relevance_scores_ :" in doc:  # a method with scores of its own
        attributes = attributes[attributes.index("unique_contributions_") :]
    defaults = inspect.signature(cls).parameters
    if "{fusions}" in doc and "fusion" in defaults:
        doc = doc.replace(
            "{fusions}", FUSIONS.replace("{fusion}", f'"{defaults["fusion"].default}"')
        )
    parameters = PARAMETERS.replace("{dropout}", str(defaults["dropout"].default))
    parameters = parameters.replace("{most_folded}", f"{getattr(cls, '_most_folded', 0):,}")
    cls.__doc__ = doc.replace("{parameters}", parameters).replace("{attributes}", attributes)
    return cls
