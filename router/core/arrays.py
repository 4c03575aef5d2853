"""Arrays as they are named in annotations; shapes are told where they are used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int_]
