"""Torch nets: a batch of modalities in, a :class:`FusionOutput` out. One file per method."""

from sklearn_mmfuse.nets._base import FusionNet
from sklearn_mmfuse.nets._mro import MRONet, SequentialMRONet, make_mro_net
from sklearn_mmfuse.nets._output import FusionOutput
from sklearn_mmfuse.nets._smurf import SMURFNet, smurf_terms

__all__ = [
    "FusionNet",
    "FusionOutput",
    "MRONet",
    "SMURFNet",
    "SequentialMRONet",
    "make_mro_net",
    "smurf_terms",
]
