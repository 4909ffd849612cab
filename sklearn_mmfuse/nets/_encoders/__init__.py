"""Encoders: what turns sequences and images into feature vectors."""

from __future__ import annotations

from collections.abc import Callable

from sklearn_mmfuse.nets._encoders._base import CopiedWeights, Encoder, EncoderSpec
from sklearn_mmfuse.nets._encoders._convolution import Conv1dEncoder, Conv2dEncoder
from sklearn_mmfuse.nets._encoders._mean import MeanEncoder
from sklearn_mmfuse.nets._encoders._mult import MulTEncoder
from sklearn_mmfuse.nets._encoders._recurrent import GRUEncoder, LSTMEncoder
from sklearn_mmfuse.nets._encoders._transformer import TransformerEncoder
from sklearn_mmfuse.nets._encoders._user_module import UserEncoder, global_generator

__all__ = [
    "ENCODERS",
    "Conv1dEncoder",
    "Conv2dEncoder",
    "CopiedWeights",
    "Encoder",
    "EncoderSpec",
    "GRUEncoder",
    "LSTMEncoder",
    "MeanEncoder",
    "MulTEncoder",
    "TransformerEncoder",
    "UserEncoder",
    "global_generator",
    "make_encoder",
]

ENCODERS: dict[str, Callable[..., Encoder]] = {
    "gru": GRUEncoder,
    "lstm": LSTMEncoder,
    "transformer": TransformerEncoder,
    "mean": MeanEncoder,
    "conv1d": Conv1dEncoder,
    "conv2d": Conv2dEncoder,
}


def make_encoder(spec: EncoderSpec, *, n_members: int, n_copies: int, activation: str) -> Encoder:
    """Return the bank of copies that a specification asks for."""
    make = ENCODERS[spec.kind] if isinstance(spec.kind, str) else UserEncoder
    return make(spec, n_members=n_members, n_copies=n_copies, activation=activation)
