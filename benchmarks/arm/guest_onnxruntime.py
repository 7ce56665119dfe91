"""Runs on the emulated CPU: each model's second inference between two marks, then one under onnxruntime's profiler.

Argument: a JSON file with `models` (paths) and `profiled` (those whose nodes are counted too). Marks are those of
count_blocks.c: 2 * i begins and 2 * i + 1 ends model i. A model's profile is stored beside it as NAME.profile.json.
"""

import contextlib
import json
import os
import sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported

import numpy
import onnxruntime

FIRST_MARK, CLOCKS_ON, CLOCKS_OFF = 7_000_000, 900, 901


def mark(k):
    with contextlib.suppress(OSError):
        os.close(FIRST_MARK + k)


def session_of(path, profile=""):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feeds_of(session):
    random = numpy.random.RandomState(0)
    feeds = {}
    for value in session.get_inputs():
        if value.type == "tensor(uint8)":
            feeds[value.name] = random.randint(0, 256, value.shape).astype(numpy.uint8)
        else:
            feeds[value.name] = random.random_sample(value.shape).astype(numpy.float32)
    return feeds


def main():
    with open(sys.argv[1]) as file:
        job = json.load(file)
    for i, path in enumerate(job["models"]):
        session = session_of(path)
        feeds = feeds_of(session)
        session.run(None, feeds)
        mark(2 * i)
        session.run(None, feeds)
        mark(2 * i + 1)
        if path in job["profiled"]:
            session = session_of(path, path)
            session.run(None, feeds)
            mark(CLOCKS_ON)
            session.run(None, feeds)
            mark(CLOCKS_OFF)
            os.replace(session.end_profiling(), path + ".profile.json")


main()
