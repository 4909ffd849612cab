"""Torch nets: a batch of modalities in, a :class:`FusionOutput` out. One file per method."""

from sklearn_mmfuse.nets._base import FusionNet, rows_at_once
from sklearn_mmfuse.nets._critic import CRITIC_OUTPUTS, Critic
from sklearn_mmfuse.nets._encoders import ENCODERS, EncoderSpec, global_generator
from sklearn_mmfuse.nets._fusion import FusedNet, fusion_terms
from sklearn_mmfuse.nets._fusions import FUSIONS
from sklearn_mmfuse.nets._intense import InTenseNet
from sklearn_mmfuse.nets._layers import MaskReader
from sklearn_mmfuse.nets._modality_critic import ModalityCritic
from sklearn_mmfuse.nets._mro import MRONet, SequentialMRONet, make_mro_net
from sklearn_mmfuse.nets._mutual_dependency import (
    DependencyNet,
    side_by_side,
    unit_statistics,
)
from sklearn_mmfuse.nets._output import FusionOutput
from sklearn_mmfuse.nets._routing import RoutingNet
from sklearn_mmfuse.nets._row_view import Inputs, RowView
from sklearn_mmfuse.nets._shuffling import (
    Shares,
    complete_numbers,
    complete_rows,
    draw_orders,
    reorder,
    row_shares,
    shuffle_modalities,
)
from sklearn_mmfuse.nets._smurf import SMURFNet, smurf_terms
from sklearn_mmfuse.nets._tensor_product import MAX_PRODUCT

__all__ = [
    "CRITIC_OUTPUTS",
    "ENCODERS",
    "FUSIONS",
    "MAX_PRODUCT",
    "Critic",
    "DependencyNet",
    "EncoderSpec",
    "FusedNet",
    "FusionNet",
    "FusionOutput",
    "InTenseNet",
    "Inputs",
    "MRONet",
    "MaskReader",
    "ModalityCritic",
    "RoutingNet",
    "RowView",
    "SMURFNet",
    "SequentialMRONet",
    "Shares",
    "complete_numbers",
    "complete_rows",
    "draw_orders",
    "fusion_terms",
    "global_generator",
    "make_mro_net",
    "reorder",
    "row_shares",
    "rows_at_once",
    "shuffle_modalities",
    "side_by_side",
    "smurf_terms",
    "unit_statistics",
]
