"""PESQ of a recording against its reference: pesq_score.py REFERENCE.wav HEARD.wav [wb]

Both are brought to 8 kHz mono, to 16 kHz for `wb`; where the reference fits best in the recording is found by the correlation of their
envelopes, then of their samples; that part is scored as narrow band (P.862.1 MOS-LQO), or as
wide band (P.862.2). Prints one line of JSON.
"""

import json
import math
import sys

import numpy as np
import soundfile
from pesq import pesq
from scipy.signal import correlate, resample_poly

MODE = "wb" if sys.argv[3:] == ["wb"] else "nb"
RATE = 16000 if MODE == "wb" else 8000
ENVELOPE = RATE // 100  # samples: 10 ms
SHORT = RATE // 4


def load(path):
    samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    mono = samples.mean(axis=1)
    if rate != RATE:
        common = math.gcd(rate, RATE)
        mono = resample_poly(mono, RATE // common, rate // common)
    return mono


def envelope(samples):
    frames = samples[: len(samples) // ENVELOPE * ENVELOPE].reshape(-1, ENVELOPE)
    return np.sqrt(np.square(frames).mean(axis=1))


def offset_of(reference, heard):
    """Sample of `heard` at which `reference` begins; may be negative."""
    shape = envelope(reference)
    # Silence in the recording counts for nothing; what is loud there must be loud in the reference.
    coarse = correlate(envelope(heard), shape - shape.mean(), mode="full", method="fft")
    start = (int(np.argmax(coarse)) - (len(reference) // ENVELOPE - 1)) * ENVELOPE
    span = RATE // 10
    low = max(0, start - span)
    part = heard[low : start + len(reference) + span]
    fine = correlate(part, reference, mode="full", method="fft")
    best = low + int(np.argmax(np.abs(fine))) - (len(reference) - 1)
    return best if abs(best - start) <= 2 * span else start


def cut(samples, start, length):
    begin = max(0, start)
    part = samples[begin : max(begin, start + length)]
    return np.pad(part, (max(0, -start), 0))[:length]


def main():
    reference, heard = load(sys.argv[1]), load(sys.argv[2])
    if np.abs(heard).max(initial=0.0) < 1e-4:
        sys.exit("the recording is silent")
    start = offset_of(reference, heard)
    part, missing = cut(heard, start, len(reference)), 0
    if len(part) < len(reference):
        # A recorder that stops with the call may lack the last moment; more than that is the call's failure.
        missing = len(reference) - len(part)
        if missing <= SHORT:
            reference = reference[: len(part)]
        else:
            part = np.pad(part, (0, missing))
    level = 20 * math.log10(np.sqrt(np.square(part).mean()) / np.sqrt(np.square(reference).mean()) + 1e-9)
    value = pesq(RATE, (reference * 32767).astype(np.int16), (np.clip(part, -1, 1) * 32767).astype(np.int16), MODE)
    print(json.dumps({"pesq": round(value, 3), "offset_s": round(start / RATE, 3), "level_db": round(level, 1), "missing_s": missing / RATE}))


main()
