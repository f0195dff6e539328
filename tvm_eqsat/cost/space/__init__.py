"""Design spaces of schedules beside MetaSchedule's own: register tiles, for convolutions and matrix products; squares,
for kernels that turn data.
"""

from .proposals import TileProposals, tiled_space
from .rule import RegisterTiles, is_tiled
from .squares import SquareProposals

__all__ = ["RegisterTiles", "SquareProposals", "TileProposals", "is_tiled", "tiled_space"]
