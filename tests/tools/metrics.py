"""Reads each file of /metrics whose name comes as a line with Prometheus's own Python parser, and answers `ok`, or what is wrong."""

import sys

# Debian's package, whichever python3 this is: it is pure Python.
sys.path.append("/usr/lib/python3/dist-packages")

from prometheus_client.parser import text_string_to_metric_families  # noqa: E402


def wrong(text):
    names, series = set(), set()
    for family in text_string_to_metric_families(text):
        if family.name in names:
            return f"{family.name} comes twice"
        names.add(family.name)
        if family.type not in ("counter", "gauge", "histogram"):
            return f"{family.name} is {family.type}"
        if not family.documentation:
            return f"{family.name} has no help"
        buckets, counts = {}, {}
        for sample in family.samples:
            labels = dict(sample.labels)
            key = (sample.name, tuple(sorted(labels.items())))
            if key in series:
                return f"{key} comes twice"
            series.add(key)
            limit = labels.pop("le", None)
            one = tuple(sorted(labels.items()))
            if sample.name.endswith("_bucket"):
                buckets.setdefault(one, []).append((float(limit), sample.value))
            elif sample.name.endswith("_count"):
                counts[one] = sample.value
        if family.type != "histogram":
            continue
        for one, cumulative in buckets.items():
            if cumulative != sorted(cumulative) or [count for _, count in cumulative] != sorted(count for _, count in cumulative):
                return f"buckets of {family.name} {one} do not rise: {cumulative}"
            if cumulative[-1] != (float("inf"), counts.get(one)):
                return f"{family.name} {one}: {cumulative[-1]} of {counts.get(one)}"
    return "ok" if len(names) > 20 else f"only {len(names)} metrics"


for line in sys.stdin:
    try:
        with open(line.strip(), encoding="utf-8") as page:
            answer = wrong(page.read())
    except (ValueError, OSError, KeyError) as error:
        answer = repr(error)
    print(answer.replace("\n", " "), flush=True)
