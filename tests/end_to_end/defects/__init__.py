"""Defects that checks must catch: in the image that a guest boots, or in a running guest just before the check.

They are changes that a person could make inside of a guest, or that a broken driver, daemon or image would come to.
The harness and the suites are what they always are.
"""

from tests.end_to_end.defects.clock import CLOCK
from tests.end_to_end.defects.guests_of_twins import IN_GUESTS_OF_TWINS
from tests.end_to_end.defects.images import IN_IMAGES, ON_TWINS
from tests.end_to_end.defects.integration import INTEGRATION
from tests.end_to_end.defects.lifecycle import FULL_DISK, LIFECYCLE
from tests.end_to_end.defects.model import Defect, ImageDefect, RecordedDefect
from tests.end_to_end.defects.network import NETWORK
from tests.end_to_end.defects.recorded import RECORDED, STOLEN, UNPLUGGED
from tests.end_to_end.defects.vcpu import VCPU

ALL: tuple[Defect, ...] = (*VCPU, *INTEGRATION, *CLOCK, *NETWORK, *LIFECYCLE)
"""Those of a running guest under libvirt."""

__all__ = [
    "ALL",
    "FULL_DISK",
    "IN_GUESTS_OF_TWINS",
    "IN_IMAGES",
    "ON_TWINS",
    "RECORDED",
    "STOLEN",
    "UNPLUGGED",
    "Defect",
    "ImageDefect",
    "RecordedDefect",
]
