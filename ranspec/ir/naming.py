"""Names of classes, as people write them, from those of specs and blocks."""

from __future__ import annotations

import itertools
import re

_SPELLINGS = {
    "arl": "ARL",
    "attentioninception": "AttentionInception",
    "attentionnext": "AttentionNeXt",
    "cbam": "CBAM",
    "cifar": "CIFAR",
    "densenet": "DenseNet",
    "googlenet": "GoogLeNet",
    "imagenet": "ImageNet",
    "localconv": "LocalConv",
    "mobilenet": "MobileNet",
    "nal": "NAL",
    "resattnet": "ResAttNet",
    "resnet": "ResNet",
    "resnext": "ResNeXt",
    "senet": "SENet",
    "vgg": "VGG",
    "wrn": "WRN",
}
"""Words of network names as papers write them; others are capitalised."""


def camel_case(name: str) -> str:
    """Join the words of a name: `inception_resnet_v2` becomes `InceptionResNetV2`.

    Two numbers side by side are joined as widths and depths are: `wrn28_10` becomes `WRN28x10`.
    """
    joined = re.sub(r"(?<=[0-9])_(?=[0-9])", "x", name)
    return "".join(_spelled(word) for word in joined.split("_"))


def _spelled(word: str) -> str:
    """Spell the letters that a word begins with; what follows a digit stays, as in `5b`."""
    letters = "".join(itertools.takewhile(str.isalpha, word))
    return _SPELLINGS.get(letters, letters[:1].upper() + letters[1:]) + word[len(letters) :]
