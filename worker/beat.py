"""Beat's scheduler: rings the bell of every lane, keeps nothing, and rings no bell that nobody takes."""

from typing import Any, cast

from celery.beat import ScheduleEntry, Scheduler
from typing_extensions import override

from core.log import logger
from worker.ready import touch_ready_file

log = logger(__name__)

#: Rings that wait in a lane's queue mean that no worker takes them: more would only fill the broker's memory.
RINGS_WAITING_MAX = 10


class BellScheduler(Scheduler):
    """Celery's own in-memory scheduler. Due times live in Postgres, so there is no schedule to remember."""

    _broker_away = False

    @override
    def tick(self, *args: Any, **keywords: Any) -> Any:  # Any: Celery is not typed
        touch_ready_file()
        return super().tick(*args, **keywords)

    @override
    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:  # Any: as above
        try:
            self._ring(entry, producer)
        except Exception as error:  # noqa: BLE001  # the edge of a ring: the workers poll, so nothing is lost
            if not self._broker_away:
                log.warning("bell_not_rung", lane=entry.name, error=str(error))
            self._broker_away = True
        else:
            self._broker_away = False

    def _ring(self, entry: ScheduleEntry, producer: Any) -> None:
        options = cast("dict[str, Any]", entry.options)
        lane = options["queue"]
        waiting = self.app.amqp.queues[lane].bind(producer.channel).queue_declare().message_count
        if waiting < RINGS_WAITING_MAX:
            self.send_task(entry.task, producer=producer, **options)
