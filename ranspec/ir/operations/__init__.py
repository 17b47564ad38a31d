"""The primitive operations of the IR, by family."""

from ranspec.ir.operations.convolution import Convolution, Linear
from ranspec.ir.operations.elementwise import (
    Add,
    AddScalar,
    Dropout,
    Gate,
    Multiply,
    Relu,
    Scale,
    Sigmoid,
)
from ranspec.ir.operations.normalization import (
    BatchNorm,
    ChannelAffine,
    ChannelNormalize,
    ChannelStandardize,
    SpatialAffine,
    SpatialNormalize,
)
from ranspec.ir.operations.pooling import AveragePool, GlobalAveragePool, MaxPool
from ranspec.ir.operations.resize import Resize
from ranspec.ir.operations.shape import Concatenate, Flatten, PadChannels, Subsample, VectorToMap

ALL = (
    Add,
    AddScalar,
    AveragePool,
    BatchNorm,
    ChannelAffine,
    ChannelNormalize,
    ChannelStandardize,
    Concatenate,
    Convolution,
    Dropout,
    Flatten,
    Gate,
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
    VectorToMap,
)
"""Every operation; a backend has an entry for it or writes what it is made of."""

__all__ = [
    "ALL",
    "Add",
    "AddScalar",
    "AveragePool",
    "BatchNorm",
    "ChannelAffine",
    "ChannelNormalize",
    "ChannelStandardize",
    "Concatenate",
    "Convolution",
    "Dropout",
    "Flatten",
    "Gate",
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
    "VectorToMap",
]
