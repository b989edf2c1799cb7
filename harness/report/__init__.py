"""What a run leaves to read: Allure results with stable identities, one page that asks nobody anything, a summary.

Knows nothing of pytest: the plugin says which test begins, and hands over what is to be kept.
"""

from harness.report.identity import Fault, Identity, Stamper, clashes, fault_of
from harness.report.layout import RunFolder
from harness.report.redact import Redactor
from harness.report.results import ResultsWriter, Running, write_crashed, write_crashed_worker

__all__ = [
    "Fault",
    "Identity",
    "Redactor",
    "ResultsWriter",
    "RunFolder",
    "Running",
    "Stamper",
    "clashes",
    "fault_of",
    "write_crashed",
    "write_crashed_worker",
]
