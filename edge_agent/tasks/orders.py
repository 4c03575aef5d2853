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
class KeptOrders:
    """What holds until the cloud says otherwise.

    Attributes:
        seed: Of the draw, 32 bytes; empty before the first Sync.
        orders: One for each task.
        heard: Whether the cloud has been heard at all, in this life or an earlier one.
    """

    seed: bytes = b""
    orders: tuple[Order, ...] = ()
    heard: bool = False

    def after(self, orders: Orders) -> KeptOrders:
        """What holds once ``orders`` were heard. A seed of the wrong length is not taken."""
        seed = orders.seed if len(orders.seed) == SEED_BYTES else self.seed
        return KeptOrders(seed, orders.tasks, heard=True)


_ORDERS = TypeAdapter(tuple[Order, ...])


def load_orders(path: Path) -> KeptOrders:
    """The orders kept at ``path``, or an empty one."""
    try:
        kept = json.loads(path.read_bytes())
        return KeptOrders(bytes.fromhex(kept["seed"]), _ORDERS.validate_python(kept["orders"]), heard=True)
    except FileNotFoundError:
        return KeptOrders()
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        forsake(path, error)
        return KeptOrders()


def save_orders(path: Path, kept_orders: KeptOrders) -> None:
    """Keep ``kept_orders`` at ``path``.

    Raises:
        OSError: The old one is still there.
    """
    kept = {"seed": kept_orders.seed.hex(), "orders": [asdict(order) for order in kept_orders.orders]}
    write_whole(path, json.dumps(kept, indent=1).encode())
