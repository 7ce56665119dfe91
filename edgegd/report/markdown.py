"""The report for people: one table for the terminal, and report.md. Tables are tabulate's."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate

from edgegd.report.build import VARIANTS

_TITLES = {"fp32": "FP32", "ptq": "INT8 PTQ", "qat": "INT8 QAT"}


def percent(value: float | None) -> str:
    """A mAP of 0..1 as points with one decimal; a dash where there is none."""
    return "-" if value is None else f"{100 * value:.1f}"


def summary_table(report: dict[str, Any], style: str = "simple") -> str:
    """FP32, PTQ and QAT side by side, all run in onnxruntime; `style` is one of tabulate's formats."""
    rows = []
    for variant in VARIANTS:
        accuracy, latency = report["accuracy"][variant], report["latency"][variant]
        census = report["census"].get(variant)
        rows.append([
            _TITLES[variant], percent(accuracy["map50_95"]), percent(accuracy["map50"]),
            f"{latency['median_ms']:.2f}", f"{latency['p90_ms']:.2f}",
            f"{latency['speedup_vs_fp32']:.2f}x [{latency['speedup_low']:.2f}, {latency['speedup_high']:.2f}]",
            f"{census['int8_convs']} of {census['int8_convs'] + census['float_convs']}" if census else "0",
        ])  # fmt: skip
    headers = ["onnxruntime", "mAP50-95", "mAP50", "median ms", "p90 ms", "speed vs FP32", "int8 convolutions"]
    return tabulate(rows, headers, tablefmt=style, disable_numparse=True, colalign=("left",) + ("right",) * 6)


def to_markdown(report: dict[str, Any]) -> str:
    """report.md: the summary, mAP by class, the descent epoch by epoch, parity, and the conditions."""
    settings, conditions = report["settings"], report["latency_conditions"]
    machine, latency = conditions["fingerprint"], conditions["settings"]
    lines = [
        f"# {report['recipe']}", "",
        f"{settings['model']['weights']} at {settings['model']['imgsz']} px on {report['accuracy']['fp32']['images']} "
        f"validation images; profile {settings['target']['profile']}.", "",
        summary_table(report, "github"), "",
        f"Latency on {machine['cpu']}, onnxruntime {machine['onnxruntime']}, {latency['threads']} thread(s), spinning "
        f"{'on' if latency['spinning'] else 'off'}, {latency['launches']} launches of {latency['blocks']} alternating "
        f"blocks; the interval is a 95 % bootstrap."
        + ("" if conditions["stable"] else " **Not every warm-up became stable: measure again on an idle machine.**"),
        "", "## mAP50-95 by class", "", _class_table(report), "",
        "## The descent", "", _descent_text(report), "",
        "## Parity of torch and onnxruntime", "", _parity_table(report), "",
        "## Ranges with the least signal over quantization noise", "",
        tabulate([[w["group"], f"{w['sqnr_db']:.1f}"] for w in report["weakest_ranges"]], ["scale group", "SQNR dB"],
                 tablefmt="github"), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _class_table(report: dict[str, Any]) -> str:
    rows = [
        [name, *(percent(report["accuracy"][variant]["per_class"][name]["map50_95"]) for variant in VARIANTS)]
        for name in report["accuracy"]["fp32"]["per_class"]
    ]
    return tabulate(rows, ["class", *_TITLES.values()], tablefmt="github", disable_numparse=True)


def _descent_text(report: dict[str, Any]) -> str:
    descent = report["descent"]
    rows = [[e["epoch"], f"{e['loss']:.4f}", *(f"{v:.4f}" for v in e["parts"].values()), f"{e['lr']:.2e}",
             percent(e["map50_95"])] for e in descent["epochs"]]  # fmt: skip
    headers = ["epoch", "loss", *descent["epochs"][0]["parts"], "learning rate", "mAP50-95 (torch, fake-quantized)"]
    best = (
        "No epoch was better than the calibrated model, which was kept." if descent["best_epoch"] == 0
        else f"Epoch {descent['best_epoch']} was the best and was kept."
    )  # fmt: skip
    fp32 = percent(report["accuracy"]["fp32"]["map50_95"])
    beside = (
        f"For comparison, mAP50-95: FP32 in onnxruntime {fp32}, the calibrated "
        f"model before the first step {percent(descent['calibrated_map50_95'])} (torch, fake-quantized)."
    )
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True) + f"\n\n{best} {beside}"


def _parity_table(report: dict[str, Any]) -> str:
    rows = [
        [_TITLES[variant], parity["detections"], f"{100 * parity['agreeing_share']:.2f} %",
         f"{parity['largest_shift_px']:.3g}", f"{parity['largest_score_change']:.2g}"]
        for variant, parity in report["parity"].items()
    ]  # fmt: skip
    headers = ["", "detections", "agree", "largest shift px", "largest score change"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)
