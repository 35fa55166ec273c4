import threading
import time

import pytest
import redis
from redis.exceptions import RedisError

from inbox.doorbell import WAKE_TASK, Doorbell, open_doorbell
from sandbox.ports import free_port
from tests.conftest import Stack


class Sent:
    """Counts what a doorbell sends; `wait` returns once it has sent that many."""

    def __init__(self) -> None:
        self.lanes: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, lane: str) -> None:
        with self._changed:
            self.lanes.append(lane)
            self._changed.notify_all()

    def wait(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.lanes) >= count, timeout=10)


def test_a_ring_is_sent() -> None:
    sent = Sent()
    bell = Doorbell(sent)
    bell.ring("interactive")
    sent.wait(1)
    bell.close()
    assert sent.lanes == ["interactive"]


def test_many_rings_at_once_are_few_and_every_lane_is_rung() -> None:
    sent = Sent()
    bell = Doorbell(sent)
    for _ in range(10_000):
        bell.ring("interactive")
        bell.ring("background")
    sent.wait(2)
    bell.close()
    assert {"interactive", "background"} <= set(sent.lanes)
    assert len(sent.lanes) < 1_000


def test_a_ring_that_comes_while_another_is_sent_is_sent_too() -> None:
    sending, go_on = threading.Event(), threading.Event()
    sent = Sent()

    def send(lane: str) -> None:
        sending.set()
        assert go_on.wait(10)
        sent(lane)

    bell = Doorbell(send)
    bell.ring()
    assert sending.wait(10)
    bell.ring()
    go_on.set()
    sent.wait(2)
    bell.close()


def test_a_broker_that_is_gone_is_rung_again_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.doorbell.BREAK_S", 0.01)
    sent, attempts = Sent(), Sent()

    def send(lane: str) -> None:
        attempts(lane)
        if len(attempts.lanes) < 3:
            raise ConnectionError("nobody there")
        sent(lane)

    bell = Doorbell(send)
    for count in (1, 2, 3):
        bell.ring()
        attempts.wait(count)
    sent.wait(1)
    bell.close()


def test_ringing_returns_at_once_while_no_broker_answers() -> None:
    bell = open_doorbell(f"redis://127.0.0.1:{free_port(None)}/0")
    began = time.process_time()
    for _ in range(1_000):
        bell.ring()
    assert time.process_time() - began < 5
    bell.close()


def test_a_ring_lies_in_the_lanes_queue_as_a_celery_message_without_payload(stack: Stack) -> None:
    client = redis.Redis.from_url(stack.redis_url)
    client.delete("test-lane")
    bell = open_doorbell(stack.redis_url)
    bell.ring("test-lane")
    message = until_rung(client, "test-lane")
    assert WAKE_TASK.encode() in message
    bell.close()


def test_rings_do_not_pile_up_while_no_worker_takes_them(stack: Stack) -> None:
    client = redis.Redis.from_url(stack.redis_url)
    client.delete("test-lane")
    bell = open_doorbell(stack.redis_url)
    for _ in range(20):
        bell.ring("test-lane")
        until_rung(client, "test-lane")
    bell.close()
    assert client.llen("test-lane") == 1


def until_rung(client: "redis.Redis", lane: str) -> bytes:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            message = client.lindex(lane, 0)
        except RedisError:
            message = None
        if isinstance(message, bytes):
            return message
        time.sleep(0.005)
    raise AssertionError(f"nothing was rung in {lane}")
