import re
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from core.errors import Broken
from db.versions import KINDS, MIGRATIONS, Kind, config_of, needed_versions, newest_versions, number, upgrade_sql
from tests.db.conftest import Release


@pytest.mark.parametrize("kind", KINDS)
def test_versions_are_one_line_numbered_in_order_and_say_when_they_may_run(kind: Kind) -> None:
    scripts = list(ScriptDirectory.from_config(config_of(kind)).walk_revisions())
    assert [script.revision for script in reversed(scripts)] == [
        f"{kind}_{place:04}" for place in range(1, len(scripts) + 1)
    ]
    for script in scripts:
        assert re.fullmatch(rf"(pre|post)_{script.revision[-4:]}_\w+\.py", Path(script.path).name)


def test_every_version_of_a_tenant_can_be_written_out_as_sql() -> None:
    newest = newest_versions()["tenant"]
    for place in range(number(newest)):
        written = upgrade_sql(f"tenant_{place:04}" if place else None, newest)
        assert f"'{newest}'" in written


def test_what_is_written_out_is_what_the_version_says() -> None:
    source = (MIGRATIONS / "tenant" / "versions" / "pre_0001_tenant.py").read_text(encoding="utf-8")
    written = upgrade_sql(None, "tenant_0001")
    for statements in re.findall(r'= """\n(.*?)"""', source, re.DOTALL):
        assert statements.strip().rstrip(";") in written


def test_a_version_that_nobody_knows_leads_nowhere() -> None:
    with pytest.raises(Broken, match="tenant_0000"):
        upgrade_sql("tenant_0000", newest_versions()["tenant"])
    with pytest.raises(Broken, match="not a version"):
        number("head")


def test_code_needs_what_stands_before_its_newest_pre(release: Release) -> None:
    before = number(newest_versions()["tenant"])
    newest = release(("post", "SELECT 1"), ("pre", "SELECT 1"), ("post", "SELECT 1"), ("post", "SELECT 1"))
    assert number(newest) == before + 4
    assert number(needed_versions()["tenant"]) == before + 2
