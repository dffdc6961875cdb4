"""A bridge on mautrix: does what it is told on standard input, and tells what it hears; a JSON line each."""

import asyncio
import json
import sys

from mautrix.appservice import AppService
from mautrix.appservice.state_store import ASStateStore
from mautrix.client.state_store.memory import MemoryStateStore
from mautrix.types import EventType, PresenceState, RoomCreatePreset


class Memory(ASStateStore, MemoryStateStore):
    def __init__(self):
        ASStateStore.__init__(self)
        MemoryStateStore.__init__(self)


def tell(**what):
    print(json.dumps(what), flush=True)


class Bridge:
    def __init__(self, server, domain, port):
        self.port = port
        self.service = AppService(
            server=server,
            domain=domain,
            id="mautrix",
            as_token="as-secret",
            hs_token="hs-secret",
            bot_localpart="mautrixbot",
            state_store=Memory(),
            ephemeral_events=True,
            encryption_events=True,
            query_user=self.query_user,
            query_alias=self.query_alias,
        )
        self.service.matrix_event_handler(self.hear)
        self.service.to_device_handler = self.hear_device
        self.service.otk_handler = self.hear_counts
        self.service.device_list_handler = self.hear_lists

    def user(self, name):
        return self.service.intent if name == "" else self.service.intent.user(name)

    async def hear(self, event):
        tell(event=event.serialize())

    async def hear_device(self, event):
        tell(to_device=event.serialize())

    async def hear_counts(self, counts):
        tell(
            counts={
                user: {device: count.serialize() for device, count in devices.items()}
                for user, devices in counts.items()
            }
        )

    async def hear_lists(self, lists):
        if lists.changed or lists.left:
            tell(lists=lists.serialize())

    async def query_user(self, user_id):
        if "_mautrix_asked" not in user_id:
            return None
        await self.user(user_id).ensure_registered()
        return {"made": True}

    async def query_alias(self, alias):
        if "asked" not in alias:
            return None
        await self.service.intent.create_room(
            alias_localpart=alias[1:].split(":")[0], preset=RoomCreatePreset.PUBLIC
        )
        return {"made": True}

    async def do(self, what, who="", room=None, **rest):
        intent = self.user(who)
        if what == "register":
            await intent.ensure_registered()
            return intent.mxid
        if what == "name":
            return await intent.set_displayname(rest["name"])
        if what == "create":
            return await intent.create_room(name="Bridged", invitees=rest["invitees"])
        if what == "join":
            await intent.ensure_joined(room)
            return None
        if what == "send":
            return await intent.send_text(room, rest["text"], timestamp=rest.get("ts"))
        if what == "topic":
            return await intent.set_room_topic(room, rest["topic"], timestamp=rest.get("ts"))
        if what == "typing":
            return await intent.set_typing(room, timeout=rest["ms"])
        if what == "read":
            return await intent.mark_read(room, rest["event"])
        if what == "presence":
            return await intent.set_presence(PresenceState.ONLINE, status=rest["status"])
        if what == "members":
            return sorted(await intent.get_room_members(room))
        if what == "ping":
            return await self.service.ping_self("a ping")
        raise ValueError(what)

    async def run(self):
        await self.service.start("127.0.0.1", self.port)
        tell(started=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command = json.loads(line)
            number = command.pop("number")
            try:
                tell(answer=number, value=await self.do(**command))
            except Exception as error:
                tell(answer=number, error=f"{type(error).__name__}: {error}")
        await self.service.stop()


async def main():
    await Bridge(sys.argv[1], sys.argv[2], int(sys.argv[3])).run()


asyncio.run(main())
