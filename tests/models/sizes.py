"""Models that most tests leave out."""

from __future__ import annotations

#: Up to 570 MB of weights, and no operator that the others don't have.
BIG = frozenset({"bvlc_alexnet", "vgg19", "zfnet512"})
#: Compiling them takes longest, and their operators and blocks are Inception-v1's, SqueezeNet's and DenseNet's.
SLOW = frozenset({"inception_v2"})
