"""The Celery application: it gives processes, lanes, shutdown and beat, and stores nothing."""

from celery import Celery
from kombu.entity import Queue

from inbox.doorbell import WAKE_TASK
from worker.consumer import PoolKeepingConsumer
from worker.lanes import LANES

CONNECT_TIMEOUT_S = 1.0
#: Longer than the second for which a waiting consumer's own command blocks.
ANSWER_TIMEOUT_S = 5.0
RING_EVERY_S = 1.0
#: A child of ours says that it is up when it is; how long that takes is not Celery's to judge.
PROCESS_START_S = 24 * 3600.0


def build_app(broker_url: str) -> Celery:
    """The application over this broker. Tasks are acknowledged when they arrive: losing one loses nothing."""
    app = Celery("chowk", broker=broker_url)
    app.conf.update(
        task_queues=[Queue(lane) for lane in LANES],
        task_default_queue=LANES[0],
        task_create_missing_queues=False,
        task_ignore_result=True,
        task_acks_late=False,
        task_publish_retry=False,
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_timeout": ANSWER_TIMEOUT_S,
            "socket_keepalive": True,
            # A ring that cannot be sent is not worth waiting for; the consumer reconnects by its own rule.
            "max_retries": 0,
        },
        worker_consumer=PoolKeepingConsumer,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=PROCESS_START_S,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        beat_schedule={
            lane: {"task": WAKE_TASK, "schedule": RING_EVERY_S, "options": {"queue": lane}} for lane in LANES
        },
    )
    return app
