"""Asks Synapse's own code what it makes of rooms and events.

Reads one JSON array of rooms a line on stdin, and answers each with one JSON array a line on stdout.
Runs without a server or a reactor: nothing that is awaited here ever waits.
"""

import hashlib
import json
import logging
import sys
from collections import defaultdict

from synapse import event_auth
from synapse.api.errors import AuthError
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS, EventFormatVersions
from synapse.crypto.event_signing import compute_content_hash, compute_event_reference_hash
from synapse.events import make_event_from_json
from synapse.state import v1, v2
from synapse.storage.databases.main.event_federation import StateDifference
from unpaddedbase64 import encode_base64

logging.disable(logging.CRITICAL)


def finish(coroutine):
    """Runs a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise RuntimeError("something waited")


class Clock:
    async def sleep(self, duration):
        pass


class Store:
    """The events of one room. Synapse asks its database for chains; here they are walked."""

    def __init__(self, events):
        self.events = events

    async def get_events(self, event_ids, redact_behaviour=None, get_prev_content=False, allow_rejected=False):
        return {i: self.events[i] for i in event_ids if i in self.events}

    def chain(self, event_ids):
        seen = set()
        todo = list(event_ids)
        while todo:
            event_id = todo.pop()
            if event_id not in seen:
                seen.add(event_id)
                todo.extend(self.events[event_id].auth_event_ids())
        return seen

    async def get_auth_chain_difference(self, room_id, state_sets, conflicted, additional):
        chains = [self.chain(s) for s in state_sets]
        difference = set.union(*chains) - set.intersection(*chains)
        subgraph = None
        if conflicted is not None:
            below = self.chain(conflicted)
            cited_by = defaultdict(list)
            for event_id in below:
                for auth_id in self.events[event_id].auth_event_ids():
                    cited_by[auth_id].append(event_id)
            subgraph = set()
            todo = list(conflicted)
            while todo:
                event_id = todo.pop()
                if event_id not in subgraph:
                    subgraph.add(event_id)
                    todo.extend(cited_by[event_id])
        return StateDifference(auth_difference=difference, conflicted_subgraph=subgraph)


def key_of(event):
    return (event.type, event.state_key)


def resolve(version, room_id, sets, events):
    states = [{key_of(events[i]): i for i in ids} for ids in sets]
    store = Store(events)
    if version.identifier == "1":
        resolved = finish(
            v1.resolve_events_with_store(room_id, version, states, None, store.get_events)
        )
    else:
        resolved = finish(
            v2.resolve_events_with_store(Clock(), room_id, version, states, None, store)
        )
    return sorted(resolved.values())


def verdict(check):
    try:
        check()
        return "allow"
    except AuthError as error:
        return "reject: %s" % (error.msg,)
    except Exception as error:
        return "crash: %s: %s" % (type(error).__name__, error)


def judge(version, case, known):
    try:
        event = make_event_from_json(case["event"], version)
    except Exception as error:
        return {"unreadable": str(error)}
    store = Store(known)

    def check(events):
        event_auth.check_state_dependent_auth_rules(event, events)

    def by_state():
        keys = event_auth.auth_types_for_event(version, event)
        state = {key_of(known[i]): known[i] for i in case["state"]}
        check([state[key] for key in keys if key in state])

    answer = {
        "signed": verdict(lambda: event_auth.validate_event_for_room_version(event)),
        "independent": verdict(
            lambda: finish(event_auth.check_state_independent_auth_rules(store, event))
        ),
        "byAuth": verdict(lambda: check([known[i] for i in event.auth_event_ids()])),
        "byState": verdict(by_state),
    }
    try:
        answer["eventId"] = event.event_id
        _, content_hash = compute_content_hash(event.get_pdu_json(), hashlib.sha256)
        answer["contentHash"] = encode_base64(content_hash)
        _, reference_hash = compute_event_reference_hash(event)
        standard = (EventFormatVersions.ROOM_V1_V2, EventFormatVersions.ROOM_V3)
        urlsafe = version.event_format not in standard
        answer["referenceHash"] = encode_base64(reference_hash, urlsafe)
    except Exception as error:
        answer["unhashed"] = "%s: %s" % (type(error).__name__, error)
    return answer


def answer(room):
    version = KNOWN_ROOM_VERSIONS[room["version"]]
    rejected = set(room["rejected"])
    events = {}
    for event_id, text in room["events"]:
        reason = "rejected" if event_id in rejected else None
        event = make_event_from_json(text, version, rejected_reason=reason)
        events[event.event_id] = event
    ids = list(events)
    try:
        resolved = resolve(version, room["roomId"], room["sets"], events)
    except Exception as error:
        resolved = "crash: %s: %s" % (type(error).__name__, error)
    known = dict(events)
    for text in room["foreign"]:
        event = make_event_from_json(text, version)
        known[event.event_id] = event
    cases = [judge(version, case, known) for case in room["cases"]]
    return {"ids": ids, "resolved": resolved, "cases": cases}


for line in sys.stdin:
    print(json.dumps([answer(room) for room in json.loads(line)]), flush=True)
