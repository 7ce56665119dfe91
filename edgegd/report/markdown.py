"""The report for people: one table for the terminal, and report.md. Tables are tabulate's."""

from __future__ import annotations

from typing import Any

from edgegd.foreign_text import cell, one_line
from edgegd.network_size import size_in_words
from edgegd.quant.activation import ActivationSwap
from edgegd.report.build import EDGE, MAP_AGREEMENT_POINTS, VARIANTS
from edgegd.report.ship import ship_section
from edgegd.report.swap import explain_swap
from edgegd.report.table import table

_TITLES = {"fp32": "FP32", "ptq": "INT8 PTQ", "qat": "INT8 QAT"}


def percent(value: float | None) -> str:
    """A mAP of 0..1 as points with one decimal; a dash where there is none."""
    return "-" if value is None else f"{100 * value:.1f}"


def summary_table(report: dict[str, Any], style: str = "simple") -> str:
    """FP32, PTQ and QAT side by side, all run in onnxruntime; `style` is one of tabulate's formats.

    Edge files compute the bits of the portable ones (stage verify): their mAP is the same measurement.
    """
    rows = []
    files = {
        name: (variant, title)
        for variant, title in _TITLES.items()
        for name, title in ((variant, title), (EDGE.get(variant), f"{title}, edge file"))
        if name
    }
    for name, (variant, title) in files.items():
        accuracy, latency = report["accuracy"][variant], report["latency"][name]
        census = report["census"].get(variant)
        rows.append(
            [
                title,
                percent(accuracy["map50_95"]),
                percent(accuracy["map50"]),
                f"{latency['median_ms']:.2f}",
                f"{latency['p90_ms']:.2f}",
                f"{latency['speedup_vs_fp32']:.2f}x [{latency['speedup_low']:.2f}, {latency['speedup_high']:.2f}]",
                f"{census['int8_convs']} of {census['int8_convs'] + census['float_convs']}" if census else "0",
            ]
        )
    headers = ["onnxruntime", "mAP50-95", "mAP50", "median ms", "p90 ms", "speed vs FP32", "int8 convolutions"]
    return table(rows, headers, style, align=("left",) + ("right",) * 6)


def to_markdown(report: dict[str, Any]) -> str:
    """report.md: the summary, what to ship, mAP by class, the descent epoch by epoch, parity, and the conditions."""
    settings, conditions = report["settings"], report["latency_conditions"]
    machine, latency = conditions["fingerprint"], conditions["settings"]
    lines = [
        f"# {cell(report['recipe'], 'github')}",
        "",
        f"{cell(settings['model']['weights'], 'github')} at {size_in_words(settings['model']['imgsz'])} px on "
        f"{report['accuracy']['fp32']['images']} validation images; "
        f"{cell(_chosen(report['target']), 'github')}.",
        "",
        summary_table(report, "github"),
        "",
        *(f"{cell(caveat, 'github')}\n" for caveat in caveats(report)),
        f"Latency on {cell(machine['cpu'], 'github')}, onnxruntime {cell(machine['onnxruntime'], 'github')}, "
        f"{latency['threads']} thread(s), spinning {'on' if latency['spinning'] else 'off'}, "
        f"{latency['launches']} launches of {2 * latency['quads']} alternating blocks; the interval is a 95 % "
        "bootstrap."
        + ("" if conditions["stable"] else " **Not every warm-up became stable: measure again on an idle machine.**")
        + "".join(f" **Faults: {cell(fault, 'github')}.**" for fault in conditions["faults"]),
        "",
        "## Which to ship",
        "",
        ship_section(report),
        "",
        "## mAP50-95 by class",
        "",
        _class_table(report),
        "",
        *_swap_section(report),
        "## The descent",
        "",
        _descent_text(report),
        "",
        "## Parity of torch and onnxruntime",
        "",
        _parity_text(report),
        "",
        "## What was proved where",
        "",
        _proof_table(report),
        "",
        "## Refinement after calibration",
        "",
        _refinement_text(report),
        "",
        "## Ranges with the least signal over quantization noise",
        "",
        table(
            [[w["group"], f"{w['sqnr_db']:.1f}"] for w in report["weakest_ranges"]],
            ["scale group", "SQNR dB"],
            "github",
            align=("left", "right"),
        ),
        "",
    ]
    return "\n".join(lines)


def _refinement_text(report: dict[str, Any]) -> str:
    found = report["refinement"]
    if not found:
        return "None (`quant.refine`): weights have their nearest codes, biases are the float model's."
    share = found["changed_codes"] / max(found["codes"], 1)
    return (
        f"On {found['images']} images, without labels: {100 * share:.1f} % of the weights' codes are not the "
        "nearest ones but those that change the sums least; biases changed by up to "
        f"{found['largest_bias_change']:.3g}."
    )


def _chosen(target: dict[str, Any]) -> str:
    why = "as the recipe says" if target["explicit"] else f"chosen for {target['cpu']} ({target['host']})"
    return f"profile {target['profile']}, {why}"


def caveats(report: dict[str, Any]) -> list[str]:
    """Whose the figures are, a sentence each where they are not those of the target's own kind of CPU."""
    profile, conditions, proof = report["target"]["profile"], report["latency_conditions"], report["proof"]["accuracy"]
    found = []
    if proof["not_proved"]:
        found.append(f"The files are for {profile}. Their mAP was measured on {proof['cpu']} by {proof['arithmetic']}.")
    if conditions["machine_profile"] != profile:
        found.append(
            f"The latency is that of {conditions['fingerprint']['cpu']}, which needs the profile "
            f"{conditions['machine_profile'] or 'of an unknown CPU'}; it is not the target's."
        )
    return [one_line(caveat) for caveat in found]


def _proof_table(report: dict[str, Any]) -> str:
    """For the run's own files and those of other profiles: on which CPU and how codes were checked, what is left."""
    own = report["proof"]["codes"]
    rows = [[own["profile"], "ptq.onnx, qat.onnx", own]]
    for variants in report["profiles"].values():
        entries = list(variants.values())
        rows.append(
            [entries[0]["proof"]["profile"], ", ".join(entry["file"] for entry in entries), entries[0]["proof"]]
        )
    shown = [
        [profile, files, proof["cpu"], proof["arithmetic"], "; ".join(proof["not_proved"]) or "nothing"]
        for profile, files, proof in rows
    ]
    headers = ["profile", "files", "checked on", "codes computed by", "not proved here"]
    return table(shown, headers, "github")


def _class_table(report: dict[str, Any]) -> str:
    rows = [
        [name, *(percent(report["accuracy"][variant]["per_class"][name]["map50_95"]) for variant in VARIANTS)]
        for name in report["accuracy"]["fp32"]["per_class"]
    ]
    return table(rows, ["class", *_TITLES.values()], "github")


def _swap_section(report: dict[str, Any]) -> list[str]:
    """The choice of activations and the adaptation to it; nothing where the recipe swapped none."""
    if "swap" not in report:
        return []
    adaptation = report["swap"]["adaptation"]
    beside = (
        f"Before the first step of the adaptation the swapped model had mAP50-95 "
        f"{percent(adaptation['calibrated_map50_95'])}, the kept one has {percent(adaptation['best_map50_95'])} "
        f"(torch, float); FP32 with its SiLUs {percent(report['accuracy']['fp32']['map50_95'])} in onnxruntime."
    )
    kept = (
        "No epoch was better than the swapped model before the first step, which was kept."
        if adaptation["best_epoch"] == 0
        else f"Epoch {adaptation['best_epoch']} was the best and was kept."
    )
    return [
        "## The activation swap",
        "",
        explain_swap(ActivationSwap.from_data(report["swap"]["choice"]), "github"),
        "",
        _epochs_table(adaptation, "torch, float"),
        "",
        f"{kept} {beside}",
        "",
    ]


def _epochs_table(descent: dict[str, Any], how: str) -> str:
    rows = [
        [
            e["epoch"],
            f"{e['loss']:.4f}",
            *(f"{v:.4f}" for v in e["parts"].values()),
            f"{e['lr']:.2e}",
            percent(e["map50_95"]),
        ]
        for e in descent["epochs"]
    ]
    headers = ["epoch", "loss", *descent["epochs"][0]["parts"], "learning rate", f"mAP50-95 ({how})"]
    return table(rows, headers, "github")


def _descent_text(report: dict[str, Any]) -> str:
    descent = report["descent"]
    best = (
        "No epoch was better than the calibrated model, which was kept."
        if descent["best_epoch"] == 0
        else f"Epoch {descent['best_epoch']} was the best and was kept."
    )
    fp32 = percent(report["accuracy"]["fp32"]["map50_95"])
    beside = (
        f"For comparison, mAP50-95: FP32 in onnxruntime {fp32}, the calibrated "
        f"model before the first step {percent(descent['calibrated_map50_95'])} (torch, fake-quantized)."
    )
    return f"{_epochs_table(descent, 'torch, fake-quantized')}\n\n{best} {beside}"


def _parity_text(report: dict[str, Any]) -> str:
    """Detections of torch against onnxruntime, then codes, also of files for other profiles."""
    rows = [[_TITLES[variant], *_boxes(parity)] for variant, parity in report["parity"].items()]
    headers = ["", "detections", "agree", "largest shift px", "largest score change"]
    return "\n\n".join(
        [
            table(rows, headers, "github"),
            "Integer codes of torch under fake quantization against onnxruntime. One operation: torch repeats each "
            "operation on the codes that onnxruntime computed before it. By itself: each side runs the whole network.",
            _codes_table(report),
            _agreement_text(report["torch_agreement"]),
        ]
    )


def _agreement_text(agreement: dict[str, Any]) -> str:
    both = (
        f"mAP50-95 of the QAT model: {percent(agreement['torch'])} in torch under fake quantization, "
        f"{percent(agreement['onnxruntime'])} in onnxruntime; they differ by "
        f"{agreement['difference_points']:.2f} points"
    )
    if agreement["agree"]:
        return f"{both}."
    return (
        f"{both}, **more than the {MAP_AGREEMENT_POINTS} expected: the codes above say where they part, or the "
        "validation set is so small that one box counts as much**."
    )


def _boxes(parity: dict[str, Any]) -> list[Any]:
    return [
        parity["detections"],
        f"{100 * parity['agreeing_share']:.2f} %",
        f"{parity['largest_shift_px']:.3g}",
        f"{parity['largest_score_change']:.2g}",
    ]


def _codes_table(report: dict[str, Any]) -> str:
    files = {f"{variant}.onnx": ladder for variant, ladder in report["ladder"].items()}
    for variants in report["profiles"].values():
        files |= {entry["file"]: entry["ladder"] for entry in variants.values()}
    rows = []
    for name, ladder in files.items():
        compared = [(f"one operation, {rung}", codes) for rung, codes in ladder["one_operation"].items()]
        for what, codes in [*compared, ("by itself, optimized", ladder["whole"])]:
            rows.append(
                [
                    name,
                    what,
                    f"{codes['differing']} of {codes['codes']}",
                    codes["largest_distance"],
                    codes["first_differing"] or "none",
                ]
            )
    headers = ["file", "comparison", "codes that differ", "largest distance", "first tensor that differs"]
    return table(rows, headers, "github")


def parity_line(report: dict[str, Any]) -> str:
    """One line for the terminal: how far torch and onnxruntime compute the same codes, in the QAT file."""
    codes = report["ladder"]["qat"]["one_operation"]["onnxruntime optimized"]
    line = (
        f"torch and onnxruntime, one operation at a time: {codes['differing']} of {codes['codes']} integer codes "
        f"differ in {codes['tensors']} tensors"
    )
    if codes["first_differing"]:
        line += f", none by more than {codes['largest_distance']}, first in {one_line(codes['first_differing'])}"
    return line
