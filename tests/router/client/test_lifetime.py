"""Clients across loops, threads, processes and their own end: they work, or say what to do."""

import asyncio
import gc
import multiprocessing
import pickle
import subprocess
import sys
import threading
import warnings

import pytest

from router.client.async_client import AsyncClient
from router.client.blocking_client import Client
from router.core.errors import HeadraceError, NotPossibleError

SECONDS = 60


def test_an_async_client_serves_one_loop_after_another(tier):
    client = AsyncClient(tier.target, insecure=True)
    assert [asyncio.run(client.ask(text, "home")).text for text in ("a", "b", "c")] == ["A", "B", "C"]
    asyncio.run(client.close())


def test_an_async_client_made_before_the_loop_serves_in_it(tier):
    client = AsyncClient(tier.target, insecure=True)

    async def run():
        async with client:
            return await client.ask("lights", "home")

    assert asyncio.run(run()).text == "LIGHTS"


def test_an_async_client_in_two_loops_at_a_time_says_what_to_do(tier):
    client = AsyncClient(tier.target, insecure=True)
    told = []

    async def elsewhere():
        try:
            await client.ask("b", "home")
        except HeadraceError as error:
            told.append(str(error))

    async def run():
        await client.ask("a", "home")
        await asyncio.to_thread(asyncio.run, elsewhere())
        assert (await client.ask("c", "home")).text == "C"
        await client.close()

    asyncio.run(run())
    assert told and "one AsyncClient for each" in told[0]


def test_feedback_in_another_loop_says_what_to_do_too(tier):
    client = AsyncClient(tier.target, insecure=True)

    async def run():
        await client.ask("a", "home")
        with pytest.raises(HeadraceError, match="one AsyncClient for each"):
            await asyncio.to_thread(asyncio.run, client.feedback("q", "home", "right"))
        await client.close()

    asyncio.run(run())


def test_a_closed_client_says_so(tier):
    client = Client(tier.target, insecure=True)
    client.ask("a", "home")
    client.close()
    client.close()
    for call in (lambda: client.ask("b", "home"), lambda: client.feedback("q", "home", "right"), client.__enter__):
        with pytest.raises(NotPossibleError, match="is closed; make another"):
            call()


async def test_a_closed_async_client_says_so(door):
    client = AsyncClient(door.target, insecure=True)
    await client.ask("a", "home")
    await client.close()
    await client.close()
    for call in (client.ask("b", "home"), client.feedback("q", "home", "right"), client.__aenter__()):
        with pytest.raises(NotPossibleError, match="is closed; make another"):
            await call


async def test_an_async_client_closed_before_its_first_question_says_so(door):
    client = AsyncClient(door.target, insecure=True)
    await client.close()
    with pytest.raises(NotPossibleError, match="is closed"):
        await client.ask("b", "home")


def test_a_client_closed_while_it_asks_ends_the_question(spawn):
    tier = spawn()
    client = Client(tier.target, insecure=True, deadline=SECONDS)
    failed = []

    def ask():
        try:
            client.ask("hang", "home")
        except HeadraceError as error:
            failed.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    assert tier.read_line() == "hanging"
    client.close()
    asking.join(SECONDS)
    assert failed and "is closed" in failed[0]


async def test_an_async_client_closed_while_it_asks_ends_the_question(door):
    client = AsyncClient(door.target, insecure=True, deadline=SECONDS)
    asking = asyncio.create_task(client.ask("hang", "home"))
    await asyncio.wait_for(door.servicer.hanging.get(), SECONDS)
    await client.close()
    with pytest.raises(HeadraceError, match="is closed"):
        await asyncio.wait_for(asking, SECONDS)


def test_a_client_that_waits_for_a_target_ends_when_it_is_closed():
    client = Client("127.0.0.1:1", insecure=True, deadline=SECONDS)
    failed = []

    def ask():
        try:
            client.ask("a", "home")
        except HeadraceError as error:
            failed.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(0.5)
    client.close()
    asking.join(SECONDS / 4)
    assert failed and "is closed" in failed[0]


def test_a_client_is_left_without_a_word(tier):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client = Client(tier.target, insecure=True)
        client.ask("a", "home")
        del client
        gc.collect()


def test_an_async_client_is_left_without_a_word(tier):
    script = f"""
import asyncio
from router import AsyncClient
client = AsyncClient({tier.target!r}, insecure=True)
print(asyncio.run(client.ask("a", "home")).text)
del client
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, timeout=SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"A\n", b"")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_is_not_pickled(kind):
    with pytest.raises(HeadraceError, match="make one in each process"):
        pickle.dumps(kind("127.0.0.1:1", insecure=True))


# A busy parent: threads that ask all the time while it forks.
FORK = """
import os, sys, threading, asyncio, time
from router import AsyncClient, Client, HeadraceError
kind, target = sys.argv[1:]
client = Client(target, insecure=True, deadline=20)
client.ask("a", "home")
aclient = AsyncClient(target, insecure=True, deadline=20)
asyncio.run(aclient.ask("a", "home"))
stop = threading.Event()
def busy():
    while not stop.is_set():
        client.ask("busy", "home")
threads = [threading.Thread(target=busy) for _ in range(4)]
for thread in threads: thread.start()
codes = []
for _ in range(5):
    child = os.fork()
    if not child:
        try:
            if kind == "sync":
                client.ask("b", "home")
            elif kind == "async":
                asyncio.run(aclient.ask("b", "home"))
            elif kind == "new":
                Client(target, insecure=True).ask("b", "home")
            elif kind == "close":
                client.close()
                os._exit(3)
        except HeadraceError as error:
            os._exit(3 if "fork" in str(error) else 4)
        except BaseException:
            os._exit(5)
        os._exit(0)
    until = time.monotonic() + 15
    done = 0
    while not done and time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if not done:
        os.kill(child, 9)
        os.waitpid(child, 0)
        codes.append("hangs")
    else:
        codes.append(os.waitstatus_to_exitcode(status))
stop.set()
for thread in threads: thread.join()
assert client.ask("after", "home").text == "AFTER"
print(codes)
"""


@pytest.mark.parametrize("kind", ["sync", "async", "new", "close"])
def test_after_a_fork_in_a_busy_parent_the_child_hears_what_to_do(tier, kind):
    done = subprocess.run([sys.executable, "-c", FORK, kind, tier.target], capture_output=True, text=True, timeout=110)
    assert done.stdout == "[3, 3, 3, 3, 3]\n", done.stderr


def ask_in_child(target):
    with Client(target, insecure=True) as client:
        return client.ask("a", "home").text


def test_a_spawned_process_makes_its_own(tier):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(ask_in_child, (tier.target,)) == "A"
