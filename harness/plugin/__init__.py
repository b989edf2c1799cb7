"""The pytest plugin: multiplies tests by the lab's pools, lends guests, orders, reports. Nothing else to learn.

It wakes up only for tests that ask for the ``host`` fixture, directly or through another one; a stranger's unit tests
in the same run stay as they are.
"""

from __future__ import annotations

from harness.plugin.hooks import (
    pytest_addoption,
    pytest_collection_finish,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_configure_node,
    pytest_generate_tests,
    pytest_itemcollected,
    pytest_report_header,
    pytest_report_teststatus,
    pytest_runtest_call,
    pytest_runtest_makereport,
    pytest_runtest_protocol,
    pytest_runtest_setup,
    pytest_runtest_teardown,
    pytest_sessionfinish,
    pytest_testnodedown,
    pytest_xdist_make_scheduler,
    pytest_xdist_node_collection_finished,
)

__all__ = [
    "pytest_addoption",
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_configure_node",
    "pytest_generate_tests",
    "pytest_itemcollected",
    "pytest_report_header",
    "pytest_report_teststatus",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_runtest_protocol",
    "pytest_runtest_setup",
    "pytest_runtest_teardown",
    "pytest_sessionfinish",
    "pytest_testnodedown",
    "pytest_xdist_make_scheduler",
    "pytest_xdist_node_collection_finished",
]
