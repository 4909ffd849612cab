"""Fusions: the systems that methods are compared with, one file each."""

from sklearn_mmfuse.nets._fusions._base import Fusion, FusionSetting
from sklearn_mmfuse.nets._fusions._concat import ConcatFusion
from sklearn_mmfuse.nets._fusions._ef_lstm import EFLSTMFusion
from sklearn_mmfuse.nets._fusions._late import LateFusion
from sklearn_mmfuse.nets._fusions._lf_lstm import LFLSTMFusion
from sklearn_mmfuse.nets._fusions._low_rank import LowRankFusion
from sklearn_mmfuse.nets._fusions._mag import MAGFusion
from sklearn_mmfuse.nets._fusions._mfn import MFNFusion
from sklearn_mmfuse.nets._fusions._mult import MulTFusion
from sklearn_mmfuse.nets._fusions._raven import RavenFusion
from sklearn_mmfuse.nets._fusions._tensor import TensorFusion

__all__ = [
    "FUSIONS",
    "ConcatFusion",
    "EFLSTMFusion",
    "Fusion",
    "FusionSetting",
    "LFLSTMFusion",
    "LateFusion",
    "LowRankFusion",
    "MAGFusion",
    "MFNFusion",
    "MulTFusion",
    "RavenFusion",
    "TensorFusion",
]

FUSIONS: dict[str, type[Fusion]] = {
    "late": LateFusion,
    "concat": ConcatFusion,
    "tensor": TensorFusion,
    "low_rank": LowRankFusion,
    "ef_lstm": EFLSTMFusion,
    "lf_lstm": LFLSTMFusion,
    "mfn": MFNFusion,
    "mult": MulTFusion,
    "raven": RavenFusion,
    "mag": MAGFusion,
}
