"""What the parameter `encoder` means for the modalities at hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import torch
from torch import nn

from sklearn_mmfuse.nets import ENCODERS, EncoderSpec, global_generator

__all__ = ["ENCODER_NAMES", "adapt_to_width", "resolve_encoders"]

SampleShape = tuple[int | None, ...]

DEFAULT_WIDTH = 64

# Up to so many features, each gets waves beside it: how many, and how fast.
MAX_EMBEDDED = 64
WAVES = (4, 0.1)
# A step of Adam moves every weight alike, and so the units that read many features too far.
WIDE = 16

# By the number of axes of a sample; the first is what "auto" takes.
READS: dict[int, tuple[str, ...]] = {
    1: ("mlp", "identity"),
    2: ("gru", "lstm", "transformer", "conv1d", "mean", "mult"),
    3: ("conv2d",),
}
SHAPES = {1: "feature vectors (n, d)", 2: "sequences (n, T, d)", 3: "images (n, C, H, W)"}
OPTIONS: dict[str, tuple[str, ...]] = {
    "mlp": (),
    "identity": (),
    "gru": ("width", "n_layers"),
    "lstm": ("width", "n_layers"),
    "transformer": ("width", "n_layers", "n_heads"),
    "mean": (),
    "conv1d": ("width", "n_layers", "kernel_size"),
    "mult": ("width", "n_layers", "n_heads", "kernel_size"),
    "conv2d": ("width", "channels"),
}
ENCODER_NAMES = ("auto", *OPTIONS)
assert set(ENCODERS) < set(OPTIONS)


def resolve_encoders(
    encoder: Any, shapes: Mapping[str, SampleShape], n_steps: Mapping[str, int]
) -> dict[str, EncoderSpec]:
    """Return what reads each modality.

    Parameters
    ----------
    encoder : str, callable or mapping
        As the user passed it; a name is used for every modality that it can read.
    shapes : mapping of str to tuple
        The shape of one sample of each modality; None stands for the number of time steps.

    n_steps : mapping of str to int
        How many time steps sequences have, for a user's module to be tried.

    Raises
    ------
    ValueError
        When an encoder is unknown, has unknown options, or cannot read its modality.
    """
    if isinstance(encoder, Mapping):
        if unknown := [name for name in encoder if name not in shapes]:
            raise ValueError(
                f"encoder names the modalities {unknown}, but X has {list(shapes)}; an encoder for "
                "all of them is a name, e.g. encoder='gru'."
            )
        chosen = {name: encoder.get(name, "auto") for name in shapes}
    elif isinstance(encoder, str) and encoder != "auto":
        chosen = _where_it_fits(encoder, shapes)
    else:
        chosen = dict.fromkeys(shapes, encoder)
    specs = {
        name: _spec(name, chosen[name], shape, n_steps.get(name, 1))
        for name, shape in shapes.items()
    }
    _check_joint({name: spec for name, spec in specs.items() if spec.is_joint})
    return specs


def adapt_to_width(
    specs: Mapping[str, EncoderSpec], *, embedding: str | None, scaled: bool
) -> dict[str, EncoderSpec]:
    """Return the specifications with what the number of features of each vector asks for.

    Parameters
    ----------
    specs : mapping of str to EncoderSpec
        What reads each modality; only those of kind "mlp" are changed.
    embedding : {"plr", None}
        Whether narrow ones get numerical embeddings.
    scaled : bool
        Whether features are standardized, so that wide ones can be made smaller.

    Examples
    --------
    >>> from sklearn_mmfuse.nets import EncoderSpec
    >>> from sklearn_mmfuse.estimators._encoders import adapt_to_width
    >>> specs = {"age": EncoderSpec("mlp", (1,), 1), "text": EncoderSpec("mlp", (64 * 4,), 64 * 4)}
    >>> adapted = adapt_to_width(specs, embedding="plr", scaled=True)
    >>> adapted["age"].width, adapted["text"].gain
    (5, 0.25)
    """
    return {name: _adapted(spec, embedding, scaled) for name, spec in specs.items()}


def _adapted(spec: EncoderSpec, embedding: str | None, scaled: bool) -> EncoderSpec:
    if spec.kind != "mlp":
        return spec
    if embedding == "plr" and spec.width <= MAX_EMBEDDED:
        spec = replace(spec, embedding=WAVES, width=spec.width * (1 + WAVES[0]))
    elif not scaled:
        return spec
    return replace(spec, gain=min(1.0, (WIDE / spec.width) ** 0.5))


def _check_joint(specs: Mapping[str, EncoderSpec]) -> None:
    """Refuse different options for modalities that attend to each other."""
    options = {name: {"width": s.width, **dict(s.options)} for name, s in specs.items()}
    if any(option != next(iter(options.values())) for option in options.values()):
        raise ValueError(
            "The modalities that encoder 'mult' reads attend to each other, so they need the same "
            f"options; got {options}."
        )


def _where_it_fits(encoder: str, shapes: Mapping[str, SampleShape]) -> dict[str, str]:
    fits = {name: encoder in READS[len(shape)] for name, shape in shapes.items()}
    if not any(fits.values()):
        _check_name(encoder)
        axes = next(axes for axes, names in READS.items() if encoder in names)
        raise ValueError(
            f"encoder={encoder!r} reads {SHAPES[axes]}, and no modality of X is such: "
            f"{_shown(shapes)}."
        )
    return {name: encoder if fit else "auto" for name, fit in fits.items()}


def _shown(shapes: Mapping[str, SampleShape]) -> str:
    parts = []
    for name, shape in shapes.items():
        sizes = ", ".join("T" if size is None else str(size) for size in shape)
        parts.append(f"{name} (n, {sizes})")
    return ", ".join(parts)


def _check_name(name: Any) -> None:
    if name not in ENCODER_NAMES:
        raise ValueError(f"There is no encoder {name!r}, only {', '.join(ENCODER_NAMES)}.")


def _spec(modality: str, encoder: Any, shape: SampleShape, n_steps: int) -> EncoderSpec:
    if callable(encoder):
        return _user_spec(modality, encoder, shape, n_steps)
    options: dict[str, Any] = {}
    if isinstance(encoder, Mapping):
        options = dict(encoder)
        encoder = options.pop("name", None)
        if encoder is None:
            raise ValueError(
                f"The encoder of modality {modality!r} has options and no name; write "
                "{'name': 'gru', 'width': 32}."
            )
    _check_name(encoder)
    if encoder == "auto":
        encoder = READS[len(shape)][0]
    if encoder not in READS[len(shape)]:
        others = " or ".join(map(repr, READS[len(shape)]))
        raise ValueError(
            f"Encoder {encoder!r} does not read {SHAPES[len(shape)]}, and modality "
            f"{_shown({modality: shape})} is such; use {others}, or a factory of torch modules."
        )
    _check_options(modality, encoder, options)
    if len(shape) == 1 or encoder == "mean":
        return EncoderSpec(encoder, shape, width=int(shape[-1] or 0))
    width = int(options.pop("width", DEFAULT_WIDTH))
    return EncoderSpec(encoder, shape, width, tuple(sorted(options.items())))


def _check_options(modality: str, encoder: str, options: dict[str, Any]) -> None:
    allowed = OPTIONS[encoder]
    if unknown := [option for option in options if option not in allowed]:
        raise ValueError(
            f"Encoder {encoder!r} of modality {modality!r} has no options {unknown}; it has "
            f"{list(allowed)}."
        )
    for option, value in options.items():
        several = option == "channels" and isinstance(value, Sequence)
        values = list(value) if several else [] if option == "channels" else [value]
        if not values or not all(isinstance(v, Integral) and int(v) > 0 for v in values):
            raise ValueError(
                f"{option} of the encoder of modality {modality!r} must be "
                f"{'a list of positive integers' if option == 'channels' else 'a positive integer'}"
                f"; got {value!r}."
            )
    if "channels" in options:
        options["channels"] = tuple(int(channel) for channel in options["channels"])
    width, n_heads = options.get("width", DEFAULT_WIDTH), options.get("n_heads", 1)
    if width % n_heads:
        raise ValueError(
            f"n_heads={n_heads} of the encoder of modality {modality!r} must divide its width, "
            f"{width}."
        )


def _user_spec(
    modality: str, factory: Callable[[], nn.Module], shape: SampleShape, n_steps: int
) -> EncoderSpec:
    """Run a user's module once, to see that it works and how wide its output is."""
    if isinstance(factory, nn.Module):
        raise ValueError(
            f"The encoder of modality {modality!r} is a module; pass what makes a new one, e.g. a "
            "function that returns it: each fit starts afresh."
        )
    rows = torch.zeros(2, *(n_steps if size is None else size for size in shape))
    with global_generator(0), torch.no_grad():
        module = factory()
        if not isinstance(module, nn.Module):
            raise ValueError(
                f"The encoder of modality {modality!r} must return a torch.nn.Module; it returned "
                f"a {type(module).__name__}."
            )
        takes_mask = len(shape) == 2 and "mask" in inspect.signature(module.forward).parameters
        mask = {"mask": torch.ones(2, n_steps, dtype=torch.bool)} if takes_mask else {}
        try:
            out = module.float().eval()(rows, **mask)
            module.double()(rows.double(), **mask)  # as predictions are made
        except Exception as error:
            raise ValueError(
                f"The encoder of modality {modality!r} fails on zeros of shape "
                f"{tuple(rows.shape)}, in float32 or float64: {error}"
            ) from error
    if not isinstance(out, torch.Tensor) or out.dim() != 2 or len(out) != 2 or out.shape[1] == 0:
        got = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise ValueError(
            f"The encoder of modality {modality!r} must return one vector per row, (2, width) for "
            f"rows of shape {tuple(rows.shape)}; it returned {got}."
        )
    return EncoderSpec(factory, shape, width=int(out.shape[1]))
