import pytest

from cloud_worker.gateway.testing import trusted_fleet


@pytest.fixture
async def fleet(tmp_path):
    async with trusted_fleet(tmp_path) as fleet:
        yield fleet
