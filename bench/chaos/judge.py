"""The comparison: what must be true against what is. Pure; every difference becomes one sentence."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence

from bench.chaos.bodies import message_id
from bench.chaos.evidence import Evidence, Row, Send
from bench.chaos.expectation import Expectation, ExpectedConversation, event_key_of
from bench.chaos.schedule import Schedule
from bench.chaos.verdict import Told, Verdict
from outbox.policy import UNKNOWN_WINDOW_S

#: Outcomes of a run that said something to the person.
SPOKEN = ("answered", "handed_off")
#: The steps of a turn that asks something, and of one that does not.
TURN_STEPS = (("recall", "triage", "reply", "guard", "emit"), ("recall", "triage", "guard", "emit"))
#: How far a message has come, by its statuses.
STATUS_ORDER = ("sent", "delivered", "read", "failed")


def judge(schedule: Schedule, expected: Expectation, told: Told, evidence: Evidence) -> Verdict:
    """Compare everything."""
    verdict = Verdict()
    _judge_bodies(verdict, schedule, expected, told, evidence)
    _judge_events(verdict, schedule, expected, told, evidence)
    _judge_transcript(verdict, schedule, expected, evidence)
    _judge_statuses(verdict, told, evidence)
    _judge_conversations(verdict, schedule, expected, evidence)
    _judge_runs(verdict, evidence)
    _judge_effects(verdict, evidence)
    _judge_sends(verdict, schedule, told, evidence)
    for row in evidence.dead_jobs:
        verdict.wrong(f"job {row['id']} of kind {row['kind']} is dead: {row['error']}")
    verdict.calls = len(evidence.calls)
    verdict.duplicate_calls = _repeated(row["key"] for row in evidence.calls)
    for row in evidence.calls:
        if row["state"] == "calling":
            verdict.wrong(f"call {row['key']} was begun and never settled")
    return verdict


def _judge_bodies(verdict: Verdict, schedule: Schedule, expected: Expectation, told: Told, evidence: Evidence) -> None:
    for number, body in told.bodies.items():
        states = evidence.bodies.get(hashlib.sha256(body).digest(), [])
        if number in expected.refused_bodies:
            status = told.refusals.get(number)
            if states or status not in (401, 403):
                verdict.wrong(f"body {number} must be refused and was answered {status}, with rows {states}")
            continue
        if number not in told.acknowledged:
            verdict.wrong(f"body {number} was never acknowledged")
            continue
        ends = ["dead"] if number in expected.dead_bodies else ["done"]
        if any(expected.events[event] == "dead" for event in schedule.bodies[number].events):
            ends = ["dead", "done"]  # an event belongs to the body that brought it first
        if len(states) != 1 or states[0] not in ends:
            verdict.events_lost += not states
            verdict.wrong(
                f"body {number} was acknowledged and must be one row, {' or '.join(ends)}; there are {states}"
            )


def _judge_events(verdict: Verdict, schedule: Schedule, expected: Expectation, told: Told, evidence: Evidence) -> None:
    acknowledged = {event for number in told.acknowledged for event in schedule.bodies[number].events}
    verdict.events_acknowledged = len(acknowledged) + len(told.statuses)
    unknown = 0
    for number in sorted(acknowledged):
        key = event_key_of(schedule, number)
        if key is None:
            unknown += 1
            continue
        states = [row["state"] for row in evidence.events.get(key, [])]
        if states != [expected.events[number]]:
            verdict.events_lost += not states
            verdict.wrong(f"event {number} must be one row in state {expected.events[number]}; there are {states}")
    kept = sum(len(rows) for key, rows in evidence.events.items() if key.startswith("unknown:"))
    if kept != unknown:
        verdict.events_lost += max(unknown - kept, 0)
        verdict.wrong(f"{unknown} events of unknown kinds were acknowledged and {kept} are kept")


def _judge_transcript(verdict: Verdict, schedule: Schedule, expected: Expectation, evidence: Evidence) -> None:
    by_id: dict[str, list[Row]] = defaultdict(list)
    for row in evidence.messages:
        if row["effect_key"] is None:
            by_id[row["provider_message_id"]].append(row)
    for number, message in expected.messages.items():
        found = by_id.pop(message_id(schedule.seed, number), [])
        wanted = (message.author, message.text, message.edited, message.deleted)
        if [(row["author"], row["text"], row["edited"], row["deleted"]) for row in found] != [wanted]:
            verdict.events_lost += not found
            verdict.wrong(f"message of event {number} must be {wanted} once; there is {found}")
    for row in (row for rows in by_id.values() for row in rows):
        verdict.wrong(f"message {row['id']} is of no event")


def _judge_statuses(verdict: Verdict, told: Told, evidence: Evidence) -> None:
    kept = Counter((row["provider_message_id"], row["status"]) for row in evidence.statuses)
    furthest: dict[str, str] = {}
    for status in told.statuses:
        if kept[status.provider_message_id, status.status] != 1:
            verdict.events_lost += kept[status.provider_message_id, status.status] == 0
            verdict.wrong(f"status {status.status} of {status.provider_message_id} must be kept once")
        known = furthest.get(status.correlation, "sent")
        furthest[status.correlation] = max(known, status.status, key=STATUS_ORDER.index)
    for row in evidence.messages:
        told_status = furthest.get(row["effect_key"])
        if told_status is not None and row["status"] != told_status:
            verdict.wrong(f"message {row['id']} must be {told_status} and is {row['status']}")


def _judge_conversations(verdict: Verdict, schedule: Schedule, expected: Expectation, evidence: Evidence) -> None:
    rows_of: dict[str, list[Row]] = defaultdict(list)
    for row in evidence.conversations:
        rows_of[row["sender"]].append(row)
    runs_of: dict[str, list[Row]] = defaultdict(list)
    for run in evidence.runs:
        runs_of[run["conversation_id"]].append(run)
    for number, conversation in expected.conversations.items():
        found = rows_of[schedule.conversations[number].sender]
        if len(found) != 1:
            verdict.wrong(f"conversation {number} must be one row; there are {len(found)}")
            continue
        _judge_conversation(verdict, number, conversation, found[0], runs_of[found[0]["id"]])
    _judge_coverage(verdict, schedule, expected, evidence, runs_of)


def _judge_conversation(
    verdict: Verdict, number: int, expected: ExpectedConversation, row: Row, runs: Sequence[Row]
) -> None:
    if row["owner"] != expected.owner:
        verdict.wrong(f"conversation {number} must belong to {expected.owner} and belongs to {row['owner']}")
    spoken = Counter(run["outcome"] for run in runs if run["outcome"] in SPOKEN)
    replies, hand_offs = spoken.total(), spoken["handed_off"]
    if not expected.replies_min <= replies <= expected.replies_max or hand_offs != expected.hand_offs:
        verdict.wrong(
            f"conversation {number} must have {expected.replies_min} to {expected.replies_max} replies, of them"
            f" {expected.hand_offs} hand-offs; there are {replies} and {hand_offs}"
        )


def _judge_coverage(
    verdict: Verdict,
    schedule: Schedule,
    expected: Expectation,
    evidence: Evidence,
    runs_of: Mapping[str, Sequence[Row]],
) -> None:
    """Each question is answered by exactly one run; one that need not be, by one at most."""
    messages = {row["provider_message_id"]: row for row in evidence.messages}
    for number, message in expected.messages.items():
        row = messages.get(message_id(schedule.seed, number))
        if row is None or message.author != "contact":
            continue
        answering = [
            run for run in runs_of[row["conversation_id"]] if run["outcome"] in SPOKEN and row["id"] in run["trigger"]
        ]
        least = 1 if message.answered else 0
        if not least <= len(answering) <= 1:
            verdict.duplicate_effects += max(len(answering) - 1, 0)
            verdict.wrong(f"message {row['id']} of event {number} is answered by {len(answering)} runs")
        elif answering and answering[0]["id"] != row["run_id"]:
            verdict.wrong(f"message {row['id']} names run {row['run_id']}; {answering[0]['id']} answered it")


def _judge_runs(verdict: Verdict, evidence: Evidence) -> None:
    """A turn has ended well, with every step once and in order; what was left to a person waits for that person."""
    waiting = Counter(run["parent_id"] for run in evidence.runs if run["kind"] == "hand_off")
    for run in evidence.runs:
        end = "waiting" if run["kind"] == "hand_off" else "succeeded"
        if run["state"] != end:
            verdict.wrong(
                f"run {run['id']} must be {end} and is {run['state']}, attempt {run['attempts']}: {run['error']}"
            )
        if run["kind"] != "turn":
            continue
        if waiting[run["id"]] != (run["outcome"] == "handed_off"):
            verdict.wrong(f"run {run['id']} ended {run['outcome']} and {waiting[run['id']]} runs wait for a person")
        _judge_steps(verdict, run, evidence.steps.get(run["id"], []))


def _judge_steps(verdict: Verdict, run: Row, steps: Sequence[Row]) -> None:
    positions = [step["position"] for step in steps]
    if positions != list(range(len(positions))):
        verdict.wrong(f"run {run['id']} has steps at {positions}, which leaves gaps")
    nodes = tuple(step["node"] for step in steps if not step["namespace"] and not step["error"])
    if run["outcome"] == "answered_elsewhere":
        # Another turn of the conversation went first, on the same thread: this one may have begun anew to say nothing.
        nodes = nodes[len(nodes) - nodes[::-1].index(nodes[0]) - 1 :] if nodes else ()
        verdict.turns_answered_elsewhere += 1
    if nodes not in ((), *TURN_STEPS) or (not nodes and run["outcome"] in SPOKEN):
        verdict.wrong(f"run {run['id']} ended {run['outcome']} by the steps {nodes}")


def _judge_effects(verdict: Verdict, evidence: Evidence) -> None:
    verdict.duplicate_effects += _repeated(effect["key"] for effect in evidence.effects)
    sends_of = Counter(effect["run_id"] for effect in evidence.effects if effect["kind"] == "send")
    for run in evidence.runs:
        most = 1 if run["outcome"] in SPOKEN else 0
        sends = sends_of[run["id"]]
        if sends != most:
            verdict.duplicate_effects += max(sends - most, 0)
            verdict.wrong(f"run {run['id']} ended {run['outcome']} and queued {sends} messages; {most} were due")
    owners = {row["id"]: row["owner"] for row in evidence.conversations}
    for effect in (one for one in evidence.effects if one["kind"] == "send"):
        by_person = effect["state"] == "superseded" and owners.get(effect["conversation_id"]) == "person"
        if effect["state"] not in ("sent", "failed", "parked") and not by_person:
            verdict.wrong(f"effect {effect['key']} is {effect['state']}: {effect['error']}")


def _judge_sends(verdict: Verdict, schedule: Schedule, told: Told, evidence: Evidence) -> None:
    """A message is taken once where the provider takes keys or spoke of it; where neither, a second time is counted."""
    sends_of: dict[str, list[Send]] = defaultdict(list)
    for send in evidence.sends:
        sends_of[send.key].append(send)
    spoken_of = {status.provider_message_id: status.acknowledged_at for status in reversed(told.statuses)}
    keyed = {one.sender for one in schedule.conversations if one.keyed}
    verdict.sends = len(evidence.sends)
    verdict.sends_keyed = sum(send.to in keyed for send in evidence.sends)
    failed = {status.correlation for status in told.statuses if status.status == "failed"}
    for effect in (one for one in evidence.effects if one["kind"] == "send"):
        sends = sends_of.pop(effect["key"], [])
        parked = effect["state"] == "parked"
        verdict.parked += parked
        if parked and effect["resends"] == 0:
            verdict.wrong(f"effect {effect['key']} is parked and was never sent again: {effect['error']}")
        if effect["state"] == "failed" and effect["key"] not in failed:
            verdict.wrong(f"effect {effect['key']} failed, which the provider never said: {effect['error']}")
        if effect["state"] == "sent" and not sends:
            verdict.wrong(f"effect {effect['key']} counts as sent, and the provider never had it")
        _judge_repetition(verdict, sends, spoken_of, keyed)
    for key, sends in sends_of.items():
        verdict.wrong(f"{len(sends)} messages left under the key {key}, which is no effect's")


def _judge_repetition(
    verdict: Verdict, sends: Sequence[Send], spoken_of: Mapping[str, float], keyed: Container[str]
) -> None:
    for place, again in enumerate(sends[1:], start=1):
        if again.to in keyed:
            verdict.duplicate_sends_keyed += 1
            verdict.wrong(f"the message of key {again.key} was taken again by a provider that takes keys")
        elif any(_could_be_known(send, again, spoken_of) for send in sends[:place]):
            verdict.duplicate_sends_echoed += 1
            verdict.wrong(f"the message of key {again.key} left again, although the provider speaks of it")
        else:
            verdict.duplicate_sends_declared += 1


def _could_be_known(send: Send, again: Send, spoken_of: Mapping[str, float]) -> bool:
    """Whether the provider had spoken of a message before it left again, or still had time to."""
    spoken_at = spoken_of.get(send.provider_message_id)
    return spoken_at is not None and (spoken_at < again.at or again.at - send.at < UNKNOWN_WINDOW_S)


def _repeated(keys: Iterable[str]) -> int:
    return sum(count - 1 for count in Counter(keys).values())
