"""What the cloud told this device last: its seed and its orders, kept across restarts.

Rules:
 * The file is written whole, readable by its owner alone: the seed is a secret.
 * A file that can't be read is set aside, and as good as none; the next Sync brings a new one.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from edge_agent.damaged_files import forsake
from router.core.policy.exploration import SEED_BYTES
from router.core.release.orders import Order, Orders
from router.io.atomic_write import write_whole

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds until the cloud says otherwise.

    Attributes:
        seed: Of the draw, 32 bytes; empty before the first Sync.
        orders: One for each task.
        heard: Whether the cloud has been heard at all, in this life or an earlier one.
    """

    seed: bytes = b""
    orders: tuple[Order, ...] = ()
    heard: bool = False

    def after(self, orders: Orders) -> Standing:
        """What holds once ``orders`` were heard. A seed of the wrong length is not taken."""
        seed = orders.seed if len(orders.seed) == SEED_BYTES else self.seed
        return Standing(seed, orders.tasks, heard=True)


_ORDERS = TypeAdapter(tuple[Order, ...])


def load_standing(path: Path) -> Standing:
    """The standing kept at ``path``, or an empty one."""
    try:
        kept = json.loads(path.read_bytes())
        return Standing(bytes.fromhex(kept["seed"]), _ORDERS.validate_python(kept["orders"]), heard=True)
    except FileNotFoundError:
        return Standing()
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        forsake(path, error)
        return Standing()


def save_standing(path: Path, standing: Standing) -> None:
    """Keep ``standing`` at ``path``.

    Raises:
        OSError: The old one is still there.
    """
    kept = {"seed": standing.seed.hex(), "orders": [asdict(order) for order in standing.orders]}
    write_whole(path, json.dumps(kept, indent=1).encode())
