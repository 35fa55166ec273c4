"""The one thread of a worker process that works: it has the event loop. The main thread only takes rings for it."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import psycopg
import psycopg_pool
import uvloop

from core.errors import SettingInvalid
from core.log import logger
from core.settings import TurnSettings, load
from core.telemetry import WORKER_POLLED_AT
from db.transactions import DatabaseUnavailable
from worker.lanes import STAGE_OF_RING
from worker.loop import CLAIMS_END_S, RELEASE_S, WorkLoop
from worker.ready import touch_ready_file
from worker.runtime import Runtime, open_runtime
from worker.stages import stages_of

log = logger(__name__)

DATABASE_AWAY_S = 1.0
#: What closing connections may take after the drain.
CLOSE_S = 2.0
#: The status of a process whose loop ended by a defect; it is started again.
EXIT_DEFECT = 70


class LoopThread:
    """Runs the loop of these lanes. Made before the process forks, started in the child."""

    def __init__(self, lanes: Sequence[str]) -> None:
        self._lanes = tuple(lanes)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Task[Runtime] | None = None
        self._work: WorkLoop | None = None
        self._stopped = threading.Event()
        # Children write here, and the process that forked them reads, once they have ended.
        self._refusals, self._refuse = os.pipe()
        os.set_blocking(self._refusals, False)

    def start(self) -> None:
        """Start the thread; it connects by itself and keeps trying."""
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)
        self._thread.start()

    def ring(self, lane: str) -> None:
        """Have the loop look for work of this lane. Safe from any thread; nothing happens before the loop runs."""
        loop, work = self._loop, self._work
        if loop is not None and work is not None:
            with suppress(RuntimeError):  # the loop closed meanwhile
                loop.call_soon_threadsafe(work.wake, STAGE_OF_RING[lane])

    def stop(self) -> None:
        """Let the loop drain, and wait for it as long as that may take."""
        self._stopped.set()
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop)
        if self._thread is not None:
            self._thread.join(CLAIMS_END_S + load(TurnSettings).drain_s + RELEASE_S + CLOSE_S)

    def was_refused(self) -> bool:
        """Whether a child found a setting wrong. For the process that forked it."""
        with suppress(BlockingIOError):
            return os.read(self._refusals, 1) != b""
        return False

    def _stop(self) -> None:
        if self._work is not None:
            self._work.stop()
        elif self._opening is not None:
            self._opening.cancel()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main())
        except SettingInvalid as error:
            log.error("worker_refused", error=error.message)  # noqa: TRY400  # the sentence says it all
            os.write(self._refuse, b"!")
            # Another child would be refused as well, so the process that forks them ends.
            os.kill(os.getppid(), signal.SIGTERM)
        except asyncio.CancelledError:
            log.info("worker_stopped_before_it_started")
        except BaseException:
            log.exception("loop_ended")
            os._exit(EXIT_DEFECT)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        runtime = await self._open()
        try:
            self._work = WorkLoop(stages_of(runtime, self._lanes), drain_s=load(TurnSettings).drain_s, polled=_polled)
            if self._stopped.is_set():
                return
            log.info("worker_started", lanes=self._lanes, worker=runtime.worker)
            await self._work.run()
            log.info("worker_drained", worker=runtime.worker)
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await runtime.close()

    async def _open(self) -> Runtime:
        """Open the runtime, again and again while the database is away or not migrated yet."""
        while True:
            if self._stopped.is_set():
                raise asyncio.CancelledError
            self._opening = asyncio.create_task(open_runtime())
            try:
                return await self._opening
            except (psycopg_pool.PoolTimeout, psycopg.Error, DatabaseUnavailable) as error:
                log.warning("worker_waits_for_database", error=str(error))
                await asyncio.sleep(DATABASE_AWAY_S)


def _polled() -> None:
    WORKER_POLLED_AT.set(time.time())
    touch_ready_file()
