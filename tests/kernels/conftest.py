import pytest

from bnnlib.kernels import checks


@pytest.fixture(scope="package", autouse=True)
def threads_are_used_however_little_there_is_to_do():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "MACS_OF_A_THREAD", 1)
        yield
