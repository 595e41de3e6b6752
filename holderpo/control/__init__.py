"""Who decides p: schedules, rules on measured statistics, and the controllers that follow them."""

from holderpo.control.build import build_controller
from holderpo.control.controllers import Controller
from holderpo.control.rules import RoundStatistics

__all__ = ["Controller", "RoundStatistics", "build_controller"]
