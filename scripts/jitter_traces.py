#!/usr/bin/env python3
"""Makes the traces of jitter in crates/media-bridge/src/rtp/playout/traces: how late each packet of a stream comes.

    scripts/jitter_traces.py            the synthetic ones, the same every time
    scripts/jitter_traces.py --record   also loopback.txt: packets really sent every 20 ms through this machine's
                                        loopback, received by a process of ordinary priority (keep the machine busy)
"""

import random
import socket
import sys
import threading
import time
from pathlib import Path

SEED = 20261120
PACKETS = 3000  # one minute
DIR = Path(__file__).parent.parent / "crates/media-bridge/src/rtp/playout/traces"


def quiet(draw):
    """A wired network: under 2 ms, rarely 10."""
    return [10 * draw.random() if draw.random() < 0.002 else 2 * draw.random() for _ in range(PACKETS)]


def wireless(draw):
    """A busy radio cell: gamma-distributed jitter of 12 ms on average, a retry of 40-90 ms once in 150 packets that holds
    up those behind it, 1 % lost."""
    late, held = [], 0.0
    for _ in range(PACKETS):
        held = max(0.0, held - 20)
        if draw.random() < 1 / 150:
            held = max(held, draw.uniform(40, 90))
        late.append(None if draw.random() < 0.01 else max(draw.gammavariate(2, 6), held))
    return late


def mobile(draw):
    """A telephone on the move: jitter as above around a delay that wanders between 0 and 80 ms within seconds, and two
    breaks of 300 ms after which everything comes at once."""
    late, base, held = [], 20.0, 0.0
    for n in range(PACKETS):
        base = min(80.0, max(0.0, base + draw.gauss(0, 1.5)))
        held = max(0.0, held - 20)
        if n in (1000, 2200):
            held = 300
        late.append(None if draw.random() < 0.005 else max(base + draw.gammavariate(2, 4), held))
    return late


def loopback():
    """Really sent and received."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(2)
    begun = time.monotonic() + 0.1

    def send():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for n in range(PACKETS):
            time.sleep(max(0.0, begun + n * 0.02 - time.monotonic()))
            sender.sendto(n.to_bytes(4, "big") + bytes(168), receiver.getsockname())

    threading.Thread(target=send, daemon=True).start()
    late = [None] * PACKETS
    try:
        while late[-1] is None:
            n = int.from_bytes(receiver.recv(2048)[:4], "big")
            late[n] = (time.monotonic() - begun - n * 0.02) * 1000
    except TimeoutError:
        pass
    return late


def write(name, words, late):
    lines = [f"# {' '.join(words.split())}", "# How late each packet of 20 ms comes (ms); x: lost. By scripts/jitter_traces.py."]
    lines += ["x" if ms is None else f"{ms:.1f}" for ms in late]
    (DIR / f"{name}.txt").write_text("\n".join(lines) + "\n")


for make in (quiet, wireless, mobile):
    write(make.__name__, make.__doc__, make(random.Random(SEED)))
if "--record" in sys.argv:
    words = "Recorded: a minute of packets through the loopback of a two-core machine that compiles and carries calls meanwhile."
    write("loopback", words, loopback())
