"""A tiny tier for tests of clients: it says the text back, or does what the text says.

python tiny_cascade.py PORT      writes the bound port, then serves until killed
"""

import asyncio
import sys
from dataclasses import replace

from router.core.domain.query import Answer, Distribution, FinishReason, Provenance, Reason, Tier
from router.core.errors import (
    BadInputError,
    BusyError,
    ConfigError,
    OverloadedError,
    SpentError,
    UnavailableError,
    UnknownTaskError,
)
from router.transport.server import Door, caller_of, listen_for_stop
from router.transport.wire import answer_to_proto, query_from_proto
from router.v1 import cascade_pb2, cascade_pb2_grpc

SERVICE = "headrace.v1.Cascade"
SILENCE = {
    "say nothing": ("", FinishReason.STOP),
    "say a line": (" \n", FinishReason.STOP),
    "be filtered": ("", FinishReason.FILTERED),
}


class TinyCascade(cascade_pb2_grpc.CascadeServicer):
    """Records what it was asked: ``seen`` holds every query, ``metadata`` what came with it,
    ``hanging`` those that it will never answer."""

    def __init__(self, name="tiny"):
        self.name = name
        self.seen = []
        self.metadata = []
        self.hanging = asyncio.Queue()

    async def Answer(self, request, context):  # noqa: N802 - the contract's name
        query = query_from_proto(request)
        self.seen.append(query)
        self.metadata.append(dict(context.invocation_metadata()))
        await self.obey(query)
        top = (("yes", -0.1), ("no", -2.4))[: query.wanted.top_k]
        caller = caller_of(context, insecure=True)
        provenance = Provenance(tier=Tier.DEVICE, model=self.name, release=7, reason=Reason.CONFIDENT, node=caller)
        rationale = "because" if query.wanted.rationale else ""
        text, finish = SILENCE.get(said(query), (said(query).upper(), FinishReason.STOP))
        answer = Answer(query.id, text, provenance, finish, confidence=0.9, rationale=rationale)
        response = answer_to_proto(replace(answer, distribution=Distribution(top)))
        if said(query) == "impossible":
            response.confidence = 2.0
        return response

    async def AnswerStream(self, request, context):  # noqa: N802 - the contract's name
        yield cascade_pb2.AnswerChunk(delta="a")
        await self.obey(query_from_proto(request))

    async def obey(self, query):
        """Do what the text of a query says, before it is answered."""
        text = said(query)
        if text == "busy once" and len(self.seen) == 1:
            raise OverloadedError("busy just now", 0.05)
        if text in REFUSALS:
            raise REFUSALS[text]()
        if text == "hang":
            self.hanging.put_nowait(query)
            await asyncio.Event().wait()
        if text == "broken":
            raise RuntimeError("/srv/private/model.bin is missing")
        if text == "misconfigured":
            raise ConfigError("/etc/private.toml", "key", "is wrong")
        if query.task == "unknown" or text.startswith("repeat"):
            raise UnknownTaskError("no task 'unknown' here" if query.task == "unknown" else text)


REFUSALS = {
    "busy for an hour": lambda: OverloadedError("busy", 3600),
    "spent": lambda: SpentError("nothing is left for today"),
    "busy teacher": lambda: BusyError("the teacher asked to be left alone", 20),
    "away": lambda: UnavailableError("nobody above answers"),
    "bad": lambda: BadInputError("text", "is bad; say something else"),
}


def said(query):
    """The text, or what a chat ends in."""
    return query.text or query.messages[-1].content


def tiny_door(port=0, name="tiny", **settings):
    door = Door(f"127.0.0.1:{port}", insecure=True, reflection=True, services=[SERVICE], **settings)
    servicer = TinyCascade(name)
    cascade_pb2_grpc.add_CascadeServicer_to_server(servicer, door.server)
    return door, servicer


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(port, grace):
    stop = listen_for_stop()
    door, servicer = tiny_door(port, name=f"tiny on {port}")
    servicer.hanging.put_nowait = lambda _: say("hanging")
    say(await door.start())
    await stop.wait()
    await door.stop(grace)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
