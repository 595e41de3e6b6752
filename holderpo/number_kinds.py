"""What counts as a number in a setting; true and false never do."""

from __future__ import annotations

import math
import sys
from typing import Any


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; not so a whole one that no float can hold."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max


def is_whole(value: Any, at_least: float = -math.inf) -> bool:
    """Whether a value is a whole number, and no smaller than another."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least
