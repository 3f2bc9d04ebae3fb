"""PESQ of a recording against its reference: pesq_score.py REFERENCE.wav HEARD.wav [wb]
or of many at once: pesq_score.py many, with a line of those words for each on its input

Both are brought to 8 kHz mono, to 16 kHz for `wb`; where the reference fits best in the recording is found by the correlation of their
envelopes, then of their samples; that part is scored as narrow band (P.862.1 MOS-LQO), or as
wide band (P.862.2). Prints one line of JSON for each.
"""

import json
import math
import sys
from multiprocessing import Pool

import numpy as np
import soundfile
from pesq import pesq
from scipy.signal import correlate, resample_poly


def load(path, wanted):
    samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    mono = samples.mean(axis=1)
    if rate != wanted:
        common = math.gcd(rate, wanted)
        mono = resample_poly(mono, wanted // common, rate // common)
    return mono


def envelope(samples, step):
    frames = samples[: len(samples) // step * step].reshape(-1, step)
    return np.sqrt(np.square(frames).mean(axis=1))


def offset_of(reference, heard, rate):
    """Sample of `heard` at which `reference` begins; may be negative."""
    step = rate // 100  # 10 ms
    shape = envelope(reference, step)
    # Silence in the recording counts for nothing; what is loud there must be loud in the reference.
    coarse = correlate(envelope(heard, step), shape - shape.mean(), mode="full", method="fft")
    start = (int(np.argmax(coarse)) - (len(reference) // step - 1)) * step
    span = rate // 10
    low = max(0, start - span)
    part = heard[low : start + len(reference) + span]
    fine = correlate(part, reference, mode="full", method="fft")
    best = low + int(np.argmax(np.abs(fine))) - (len(reference) - 1)
    return best if abs(best - start) <= 2 * span else start


def cut(samples, start, length):
    begin = max(0, start)
    part = samples[begin : max(begin, start + length)]
    return np.pad(part, (max(0, -start), 0))[:length]


def score(words):
    """Of the reference and the recording, and `wb` or nothing; words if there is none."""
    mode = "wb" if words[2:] == ["wb"] else "nb"
    rate = 16000 if mode == "wb" else 8000
    reference, heard = load(words[0], rate), load(words[1], rate)
    if np.abs(heard).max(initial=0.0) < 1e-4:
        return "the recording is silent"
    start = offset_of(reference, heard, rate)
    part, missing = cut(heard, start, len(reference)), 0
    if len(part) < len(reference):
        # A recorder that stops with the call may lack the last moment; more than that is the call's failure.
        missing = len(reference) - len(part)
        if missing <= rate // 4:
            reference = reference[: len(part)]
        else:
            part = np.pad(part, (0, missing))
    level = 20 * math.log10(np.sqrt(np.square(part).mean()) / np.sqrt(np.square(reference).mean()) + 1e-9)
    value = pesq(rate, (reference * 32767).astype(np.int16), (np.clip(part, -1, 1) * 32767).astype(np.int16), mode)
    return {"pesq": round(value, 3), "offset_s": round(start / rate, 3), "level_db": round(level, 1), "missing_s": missing / rate}


def main():
    many = sys.argv[1:] == ["many"]
    jobs = [line.split() for line in sys.stdin] if many else [sys.argv[1:]]
    with Pool(min(2, len(jobs))) as pool:
        for job, found in zip(jobs, pool.imap(score, jobs, chunksize=1)):
            if isinstance(found, str):
                sys.exit(f"{job[1]}: {found}")
            print(json.dumps(found))


main()
