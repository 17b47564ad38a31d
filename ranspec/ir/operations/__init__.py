"""The primitive operations of the IR, by family."""

from ranspec.ir.operations.convolution import Convolution, Linear
from ranspec.ir.operations.elementwise import (
    Add,
    AddScalar,
    Dropout,
    Multiply,
    Relu,
    Scale,
    Sigmoid,
)
from ranspec.ir.operations.normalization import (
    BatchNorm,
    ChannelNormalize,
    ChannelStandardize,
    SpatialAffine,
    SpatialNormalize,
)
from ranspec.ir.operations.pooling import AveragePool, GlobalAveragePool, MaxPool
from ranspec.ir.operations.resize import Resize
from ranspec.ir.operations.shape import Concatenate, Flatten, PadChannels, Subsample

ALL = (
    Add,
    AddScalar,
    AveragePool,
    BatchNorm,
    ChannelNormalize,
    ChannelStandardize,
    Concatenate,
    Convolution,
    Dropout,
    Flatten,
    GlobalAveragePool,
    Linear,
    MaxPool,
    Multiply,
    PadChannels,
    Relu,
    Resize,
    Scale,
    Sigmoid,
    SpatialAffine,
    SpatialNormalize,
    Subsample,
)
"""Every operation; each backend has one entry for each of them."""

__all__ = [
    "ALL",
    "Add",
    "AddScalar",
    "AveragePool",
    "BatchNorm",
    "ChannelNormalize",
    "ChannelStandardize",
    "Concatenate",
    "Convolution",
    "Dropout",
    "Flatten",
    "GlobalAveragePool",
    "Linear",
    "MaxPool",
    "Multiply",
    "PadChannels",
    "Relu",
    "Resize",
    "Scale",
    "Sigmoid",
    "SpatialAffine",
    "SpatialNormalize",
    "Subsample",
]
