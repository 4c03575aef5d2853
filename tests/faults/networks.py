"""Networks of a machine's own, for processes under test: namespaces, a line that loses packets, a server of names.

A namespace is entered by a process of its own (``Network.inside``), and by a thread of ours for as long as it opens a
socket or a device there. Linux, as root.
"""

import ctypes
import fcntl
import os
import random
import select
import shutil
import socket
import struct
import subprocess
import threading
from collections import Counter
from pathlib import Path

TUN = "/dev/net/tun"
PACKET_BYTES = 65_536
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
_NO_SUCH_NAME, _HOST, _INTERNET = 3, 1, 1


def why_none():
    """What keeps this process from making networks; empty where nothing does."""
    if os.geteuid() or not all(map(shutil.which, ("ip", "nsenter", "unshare"))):
        return "network namespaces need Linux, root, and the commands ip, nsenter and unshare"
    tried = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"namespaces can't be made: {tried.stderr.decode().strip()}"


def why_no_line():
    """The same of a line between two networks."""
    return why_none() or ("" if os.access(TUN, os.R_OK | os.W_OK) else f"there is no {TUN}")


class Network:
    """One namespace, with a loopback of its own."""

    def __init__(self, name):
        self.name = f"{name}-{os.getpid()}"
        self.path = f"/run/netns/{self.name}"

    def __enter__(self):
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_):
        _ip("netns", "delete", self.name)

    @property
    def inside(self):
        """What a command that runs in it begins with."""
        return ("nsenter", f"--net={self.path}")

    def asking(self, resolv):
        """The same for one that reads ``resolv`` for /etc/resolv.conf."""
        script = f'mount --bind "{resolv}" /etc/resolv.conf; exec "$@"'
        return (*self.inside, "unshare", "--mount", "sh", "-c", script, "sh")

    def opened(self, opens):
        """What ``opens`` returns, called inside."""
        found = []

        def enter():
            with Path(self.path).open("rb") as space:
                if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            found.append(opens())

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        return found[0]


class LossyLine:
    """Joins two networks by a device in each, between which packets are carried here, and lost.

    ``loss`` is the share lost, each way; ``packets`` counts what was carried and what was lost.
    """

    ENDS = ("10.79.0.1", "10.79.0.2")

    def __init__(self, one, other, seed=0):
        self.loss, self.packets = 0.0, Counter()
        self._draw, self._networks = random.Random(seed), (one, other)
        self._threads = []

    def __enter__(self):
        self._devices = [network.opened(_open_device) for network in self._networks]
        for network, mine, other in zip(self._networks, self.ENDS, reversed(self.ENDS), strict=True):
            _ip("-n", network.name, "address", "add", mine, "peer", other, "dev", "line")
            _ip("-n", network.name, "link", "set", "line", "up")
        self._stop, self._stopping = os.pipe()
        for source, sink in (self._devices, self._devices[::-1]):
            thread = threading.Thread(target=self._carry, args=(source, sink))
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_):
        os.close(self._stopping)
        for thread in self._threads:
            thread.join()
        for device in (*self._devices, self._stop):
            os.close(device)

    def _carry(self, source, sink):
        while self._stop not in select.select([source, self._stop], [], [])[0]:
            packet = os.read(source, PACKET_BYTES)
            is_lost = self._draw.random() < self.loss
            self.packets["lost" if is_lost else "carried"] += 1
            if not is_lost:
                os.write(sink, packet)


class NameServer:
    """A DNS server that knows ``names`` (address by name), or says nothing; ``questions`` counts what it is asked."""

    def __init__(self, door):
        self.names, self.is_silent, self.questions = {}, False, Counter()
        self._door, self._is_over = door, False
        door.settimeout(0.1)
        self._thread = threading.Thread(target=self._serve)

    @property
    def port(self):
        return self._door.getsockname()[1]

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_over = True
        self._thread.join()
        self._door.close()

    def _serve(self):
        while not self._is_over:
            try:
                packet, caller = self._door.recvfrom(4096)
            except TimeoutError:
                continue
            name, kind, question = _question(packet)
            self.questions[name] += 1
            if not self.is_silent:
                self._door.sendto(packet[:2] + self._answer(name, kind, question), caller)

    def _answer(self, name, kind, question):
        address = self.names.get(name)
        status, records = 0x8180 | (0 if address else _NO_SUCH_NAME), b""
        if address and kind == _HOST:
            records = b"\xc0\x0c" + struct.pack(">HHIH", _HOST, _INTERNET, 0, 4) + socket.inet_aton(address)
        return struct.pack(">HHHHH", status, 1, int(bool(records)), 0, 0) + question + records


def _question(packet):
    labels, at = [], 12
    while packet[at]:
        labels.append(packet[at + 1 : at + 1 + packet[at]].decode(errors="replace"))
        at += packet[at] + 1
    return ".".join(labels).lower(), struct.unpack(">H", packet[at + 1 : at + 3])[0], packet[12 : at + 5]


def udp(host="127.0.0.1", port=0):
    """A UDP socket that is bound there."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host, port))
    return made


def _open_device():
    device = os.open(TUN, os.O_RDWR)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", b"line", _IFF_TUN | _IFF_NO_PI))
    return device


def _ip(*command):
    subprocess.run(["ip", *command], check=True)
