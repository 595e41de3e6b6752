"""ALFWorld's six types of task."""

from __future__ import annotations

from collections.abc import Mapping

TASK_TYPES: Mapping[str, str] = {
    "pick_and_place_simple": "pick",
    "look_at_obj_in_light": "look",
    "pick_clean_then_place_in_recep": "clean",
    "pick_heat_then_place_in_recep": "heat",
    "pick_cool_then_place_in_recep": "cool",
    "pick_two_obj_and_place": "pick2",
}
"""ALFWorld's name of each type, and the short one that published tables use."""
