import pytest
from interop_fixtures import Expectations


@pytest.fixture
def time_service(expect: Expectations) -> str:
    """What corrects the clock of guests here; where nothing does, the test is skipped before a guest is started."""
    service = expect.word("time_service")
    if service == "none":
        pytest.skip(
            f"nothing corrects the clock of guests of {expect.host}: time_service is none in {expect.file.name}; "
            "name there what your image or lab has for it"
        )
    return service
