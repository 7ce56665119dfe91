"""One device's proof (device-TARGET.json, edgegd.pipeline.proof) in tables and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from edgegd.device.threads import ThreadSetting
from edgegd.latency.measuring.result import AS_GOOD
from edgegd.report.blocks import Block, Bullets, Paragraph, Table
from edgegd.report.words import percent

_MEGABYTE = 1_000_000


def device_blocks(proof: Mapping[str, Any]) -> list[Block]:
    """The device, a table of the files, one of the latencies, the limits, and what follows from all of them.

    Raises KeyError, TypeError and the like for data of another form.
    """
    blocks: list[Block] = [Paragraph(_device(proof)), _files_table(proof)]
    if proof["latency"]:
        blocks.append(_latency_table(proof))
    if proof["limits"]:
        blocks.append(_limits_table(proof))
    return [*blocks, Bullets(sentences(proof))]


def sentences(proof: Mapping[str, Any]) -> list[str]:
    """What the figures say, a sentence or two each; first whether INT8 pays."""
    return [
        *_whether_it_pays(proof),
        *(codes_sentence(name, codes) for name, codes in proof["codes"].items()),
        *_of_images(proof),
        *_conditions(proof),
    ]


def codes_sentence(name: str, codes: Mapping[str, Any]) -> str:
    """Whether a file's codes are this machine's, and the first tensor that is not."""
    images, tensors, first = codes["images"], codes["tensors"], codes["first"]
    output = "the same output" if codes["equal_outputs"] else "another output"
    disturbed = (
        ""
        if codes["undisturbed"]
        else (" With its codes as outputs the file computes another output there, so the codes say less of it.")
    )
    if first is None:
        same = f"{name}: the same codes as on this machine in all {tensors} tensors of {images} images, and {output}."
        return same + disturbed
    return (
        f"{name}: other codes than on this machine in {codes['differing']} of {tensors} tensors over {images} images, "
        f"and {output}. The first is {first['address']}: on image {first['image']} {first['differing']} of "
        f"{first['codes']} codes differ, by {first['largest_distance']} at the most.{disturbed}"
    )


def _device(proof: Mapping[str, Any]) -> str:
    found = proof["fingerprint"]
    return (
        f"{found['cpu']}, {found['usable_cores']} cores, onnxruntime {found['onnxruntime']}, numpy {found['numpy']}, "
        f"Python {found['python']}" + (", emulated" if proof["emulated"] else "")
    )


def _files_table(proof: Mapping[str, Any]) -> Table:
    accuracy, rows = proof["accuracy"], []
    for name, file in proof["files"].items():
        codes, load = proof["codes"].get(name), proof["load"].get(name)
        rows.append(
            [
                file["file"],
                f"{file['bytes'] / _MEGABYTE:.2f}",
                "-" if codes is None else f"{codes['tensors'] - codes['differing']} of {codes['tensors']}",
                percent(accuracy["there"][name]["map50_95"]),
                percent(accuracy["here"][name]["map50_95"]),
                *(
                    ["-"] * 3
                    if load is None
                    else [
                        f"{median(load['load_ms']):.1f}",
                        f"{median(load['first_ms']):.2f}",
                        f"{max(load['peak_bytes']) / _MEGABYTE:.0f}",
                    ]
                ),
            ]
        )
    headers = ["file", "MB", "tensors with this machine's codes", "mAP50-95 there", "mAP50-95 here"]
    headers += ["load ms", "first inference ms", "peak memory MB"]
    return Table(headers, rows, ("left",) + ("right",) * 7)


def _latency_table(proof: Mapping[str, Any]) -> Table:
    rows = [
        [
            f"{setting} ({ThreadSetting.from_json(timed['threads'])})",
            proof["files"][name]["file"],
            f"{one['median_ms']:.2f}",
            f"{one['p95_ms']:.2f}",
            f"{one['speedup']:.2f}x [{one['speedup_low']:.2f}, {one['speedup_high']:.2f}]",
            "; ".join(timed["faults"]) or ("" if timed["stable"] else "not stable"),
        ]
        for setting, timed in proof["latency"].items()
        for name, one in timed["models"].items()
    ]
    headers = ["threads", "file", "median ms", "p95 ms of the slowest launch", "speed vs FP32", "disturbed"]
    return Table(headers, rows, ("left", "left", "right", "right", "right", "left"))


def _limits_table(proof: Mapping[str, Any]) -> Table:
    rows = [
        [
            "met" if limit["passed"] else "NOT MEASURED" if limit["found"] is None else "NOT MET",
            limit["name"],
            f"{limit['limit']:g}",
            "-" if limit["found"] is None else f"{limit['found']:.6g}",
        ]
        for limit in proof["limits"]
    ]
    return Table(["verdict", "limit", "is", "found"], rows, ("left", "left", "right", "right"))


def _whether_it_pays(proof: Mapping[str, Any]) -> Iterator[str]:
    """`FP32 is as good here` where no quantized file is shown to be faster, for each setting of threads."""
    for setting, timed in proof["latency"].items():
        quantized = {name: one for name, one in timed["models"].items() if name in proof["codes"]}
        name, best = max(quantized.items(), key=lambda item: float(item[1]["speedup_low"]))
        if not best["pays"]:
            yield (
                f"{AS_GOOD}, at {setting}: {proof['files'][name]['file']} is {best['speedup']:.2f} times as fast "
                f"[{best['speedup_low']:.2f}, {best['speedup_high']:.2f}], and the interval does not lie above 1."
            )


def _of_images(proof: Mapping[str, Any]) -> Iterator[str]:
    accuracy = proof["accuracy"]
    text = f"mAP is of the device's own outputs on {accuracy['images']} images."
    if accuracy["images"] < accuracy["of_images"]:
        text = (
            f"mAP is of the device's own outputs on the first {accuracy['images']} of {accuracy['of_images']} "
            f"validation images: no more fit into the budget of {accuracy['budget_mb']:g} MB."
        )
    yield text


def _conditions(proof: Mapping[str, Any]) -> Iterator[str]:
    found, here = proof["fingerprint"], proof["workstation"]
    if proof["not_measured"]:
        yield f"Latency, loading and memory were not measured. {proof['not_measured']}"
    if found["onnxruntime"] != here["onnxruntime"]:
        yield (
            f"The device has onnxruntime {found['onnxruntime']}, this machine {here['onnxruntime']}: what differs may "
            "be due to that."
        )
    if proof["machine_profile"] != proof["files_for"]:
        yield (
            f"The files are for {proof['files_for']}, and this CPU needs "
            f"{proof['machine_profile'] or 'an unknown profile'}: other files would be faster, or more exact, there "
            "(`edgegd export --profile`)."
        )
