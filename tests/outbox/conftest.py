import pytest

from core.crypto import Sealer
from core.ids import TenantId
from db.pools import Database
from tests.outbox.scene import Scene, a_scene


@pytest.fixture
def scene(database: Database, sealer: Sealer, tenant: TenantId, admin_url: str) -> Scene:
    return a_scene(database, sealer, tenant, admin_url)
