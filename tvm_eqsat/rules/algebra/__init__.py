"""Laws read in the direction that multiplies terms out: sums, concatenations and scalars come to the outside.

They take equal programs to the same sum of concatenated products, which is how two programs are proved equal. They
don't make programs cheaper, so the pass leaves them out.
"""

from .concat import CONCATS
from .linear import LINEAR
from .neutral import NEUTRAL
from .padding import PADDING

#: Laws that only enlarge the space of programs.
ALGEBRA = LINEAR + CONCATS + PADDING + NEUTRAL

__all__ = ["ALGEBRA"]
