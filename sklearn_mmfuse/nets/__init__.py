"""Torch nets: a batch of modalities in, a :class:`FusionOutput` out. One file per method."""

from sklearn_mmfuse.nets._base import FusionNet, row_slices, rows_at_once
from sklearn_mmfuse.nets._encoders import ENCODERS, EncoderSpec, global_generator
from sklearn_mmfuse.nets._intense import InTenseNet
from sklearn_mmfuse.nets._mro import MRONet, SequentialMRONet, make_mro_net
from sklearn_mmfuse.nets._output import FusionOutput
from sklearn_mmfuse.nets._routing import RoutingNet
from sklearn_mmfuse.nets._smurf import SMURFNet, smurf_terms

__all__ = [
    "ENCODERS",
    "EncoderSpec",
    "FusionNet",
    "FusionOutput",
    "InTenseNet",
    "MRONet",
    "RoutingNet",
    "SMURFNet",
    "SequentialMRONet",
    "global_generator",
    "make_mro_net",
    "row_slices",
    "rows_at_once",
    "smurf_terms",
]
