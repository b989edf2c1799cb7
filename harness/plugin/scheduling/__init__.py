"""How a run is spread over workers: whole groups, longest first by history, measurements alone in their domain.

The rules know neither xdist nor a clock (``night``, ``dispatcher``, ``simulation``, ``planning``), so that a night can
be played through beforehand; ``host_scheduling`` is what xdist asks, and ``durations`` what earlier runs took.
"""

from harness.plugin.scheduling.dispatcher import Dispatcher, Order
from harness.plugin.scheduling.night import Group, Member, Task, lower_bound
from harness.plugin.scheduling.planning import Plan, plan
from harness.plugin.scheduling.simulation import Span, makespan, simulate

__all__ = [
    "Dispatcher",
    "Group",
    "Member",
    "Order",
    "Plan",
    "Span",
    "Task",
    "lower_bound",
    "makespan",
    "plan",
    "simulate",
]
