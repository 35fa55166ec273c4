"""The cases over the demo organisation's real articles."""

from core.ids import TenantId
from db.pools import Database
from evals.case import Case, Expectation, read_cases
from tests.evals.conftest import run


async def test_every_stable_case_passes(database: Database, asha: TenantId) -> None:
    report = await run(database, asha, read_cases(tenant="asha"))
    assert report.passed, report.table()
    assert report.engine == "offline"
    assert len(report.results) >= 10


async def test_a_case_that_expects_otherwise_fails_the_report(database: Database, asha: TenantId) -> None:
    wrong = Case(
        id="wrong", tenant="asha", messages=("Can I get a tax receipt for my donation?",), stable=True,
        expect=Expectation(action="answer", cites=("careers",)),
    )  # fmt: skip
    report = await run(database, asha, [wrong])
    assert not report.passed
    assert "does not cite careers" in report.table()
