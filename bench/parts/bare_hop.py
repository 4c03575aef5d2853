"""A server that does nothing but pass a call on, bytes as they are: what one hop of grpc.aio takes.

    python -m bench.parts.bare_hop TARGET FILE

It asks TARGET over one kept channel, and writes its own port into FILE.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from bench.parts.load import METHOD


async def _serve(target: str, told: Path) -> None:
    async with aio.insecure_channel(target) as channel:
        pass_on = channel.unary_unary(METHOD, None, None)

        async def answer(request: bytes, context: Any) -> bytes:
            return bytes(await pass_on(request, timeout=context.time_remaining()))

        service, _, name = METHOD.strip("/").partition("/")
        server = aio.server()
        handlers = {name: grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        await asyncio.to_thread(told.write_text, json.dumps({"port": port}))
        await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], Path(sys.argv[2])))
