"""Runs on the emulated CPU: the second inference of each model in ncnn or MNN, one thread, between two marks.

Argument: a JSON file with `runtime` (ncnn, MNN), `imgsz`, and `models`, each with a `path` and a `precision` (normal,
or low: float16 on a CPU that computes in it). Marks: 2 * i begins and 2 * i + 1 ends model i.
"""

import contextlib
import json
import os
import sys

import numpy

FIRST_MARK = 7_000_000


def mark(k):
    with contextlib.suppress(OSError):
        os.close(FIRST_MARK + k)


def of_ncnn(path, precision, image):
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_vulkan_compute = False
    if precision == "normal":
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    assert net.load_param(path + ".param") == 0 and net.load_model(path + ".bin") == 0

    def run():
        with net.create_extractor() as extractor:
            extractor.input(net.input_names()[0], ncnn.Mat(image))
            return [numpy.array(extractor.extract(name)[1]) for name in net.output_names()]

    return run


def of_mnn(path, precision, image):
    import MNN

    config = {"precision": precision, "backend": "CPU", "numThread": 1}
    if "weights8" in path:
        config["memory"] = "low"  # multiplies by the int8 weights themselves, in dynamically quantized activations
    runtime = MNN.nn.create_runtime_manager((config,))
    net = MNN.nn.load_module_from_file(path, [], [], runtime_manager=runtime, rearrange=True)
    taken = MNN.expr.const(image[None].ctypes.data, (1, *image.shape))

    def run():
        return [one.read().copy() for one in net.onForward([taken])]

    return run


def main():
    with open(sys.argv[1]) as file:
        job = json.load(file)
    open_model = {"ncnn": of_ncnn, "MNN": of_mnn}[job["runtime"]]
    image = numpy.random.RandomState(0).random_sample((3, job["imgsz"], job["imgsz"])).astype(numpy.float32)
    outputs = []
    for i, model in enumerate(job["models"]):
        run = open_model(model["path"], model["precision"], image)
        run()
        mark(2 * i)
        found = run()
        mark(2 * i + 1)
        outputs.append(
            [[list(map(int, one.shape)), float(numpy.abs(one.astype(numpy.float64)).sum())] for one in found]
        )
    with open("outputs.json", "w") as file:
        json.dump(outputs, file)


main()
