"""What the worker reads of a device's state, from a made-up /sys and /proc."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgegd.device.latency_worker import cgroup_throttled_us, device_state

CPU = "sys/devices/system/cpu/cpu"
ZONE = "sys/class/thermal/thermal_zone"
FILES = {
    CPU + "0/cpufreq/scaling_cur_freq": "1500000",
    CPU + "1/cpufreq/scaling_cur_freq": "2400000",
    CPU + "10/cpufreq/scaling_cur_freq": "600000",
    CPU + "0/cpufreq/scaling_governor": "ondemand",
    CPU + "1/cpufreq/scaling_governor": "performance",
    CPU + "10/cpufreq/scaling_governor": "ondemand",
    CPU + "0/thermal_throttle/core_throttle_count": "3",
    CPU + "1/thermal_throttle/core_throttle_count": "4",
    CPU + "freq/boost": "1",
    "sys/devices/system/cpu/cpuidle/current_driver": "none",
    ZONE + "0/type": "cpu-thermal",
    ZONE + "0/temp": "54200",
    ZONE + "1/type": "acpitz",
    ZONE + "1/temp": "41000",
    ZONE + "2/type": "acpitz",
    ZONE + "2/temp": "47500",
    ZONE + "3/type": "cold",
    ZONE + "3/temp": "-5000",
    ZONE + "4/type": "broken",
    ZONE + "4/temp": "",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005",
    "proc/loadavg": "0.31 0.20 0.10 1/100 4321",
    "proc/stat": "cpu  100 20 30 4000 500 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\nintr 1 2 3",
    "proc/self/stat": "4321 (a (strange) name 7) S 1 4321 4321 0 -1 0 0 0 0 0 11 22 33 44 20 0 3 0 99",
    "proc/self/cgroup": "0::/user/session",
    "sys/fs/cgroup/cpu.stat": "usage_usec 5",
    "sys/fs/cgroup/user/cpu.stat": "nr_throttled 2\nthrottled_usec 700",
    "sys/fs/cgroup/user/session/cpu.stat": "usage_usec 1\nnr_throttled 1\nthrottled_usec 42",
}


def made_up(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return str(root)


def test_a_device_that_tells_everything(tmp_path: Path) -> None:
    state = device_state(made_up(tmp_path, FILES))
    clocks = state.pop("clocks_ns")
    assert state.pop("ticks_per_s") > 0
    assert state == {
        "frequency_khz": [1_500_000, 2_400_000, 600_000],
        "governor": "ondemand + performance",
        "temperature_c": {"cpu-thermal": 54.2, "acpitz": 47.5, "cold": -5.0},
        "throttled_flags": 0x50005,
        "throttle_count": 7,
        "cgroup_throttled_us": 742,
        "load1": 0.31,
        "busy_ticks": 163,
        "steal_ticks": 8,
        "own_ticks": 33,
    }
    assert abs(clocks["wall"] - time.time_ns()) < 60e9
    assert 0 <= time.monotonic_ns() - clocks["monotonic"] < 60e9 and clocks["boottime"] >= clocks["monotonic"]


def test_a_device_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    assert set(device_state(str(tmp_path))) == {"clocks_ns", "ticks_per_s"}


def test_a_quiet_device_tells_zeros(tmp_path: Path) -> None:
    root = made_up(
        tmp_path,
        {
            "sys/devices/platform/soc/soc:firmware/get_throttled": "0",
            "proc/loadavg": "0.00 0 0",
            CPU + "0/thermal_throttle/core_throttle_count": "0",
        },
    )
    state = device_state(root)
    assert (state["throttled_flags"], state["load1"], state["throttle_count"]) == (0, 0.0, 0)


@pytest.mark.parametrize(
    ("files", "microseconds"),
    [
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.stat": "throttled_usec 9"}, 9),
        (
            {
                "proc/self/cgroup": "7:cpu,cpuacct:/box\n3:memory:/box",
                "sys/fs/cgroup/memory/box/cpu.stat": "throttled_time 1",
                "sys/fs/cgroup/cpu,cpuacct/box/cpu.stat": "nr_periods 4\nthrottled_time 5000000",
            },
            5000,
        ),
        (
            {
                "proc/self/cgroup": "7:cpu:/docker/seen/outside/only",
                "sys/fs/cgroup/cpu/cpu.stat": "throttled_time 3000",
            },
            3,
        ),
        ({"proc/self/cgroup": "0::/unlimited", "sys/fs/cgroup/unlimited/cpu.stat": "usage_usec 5"}, None),
    ],
    ids=["version 2", "version 1", "version 1 in a container", "no limit"],
)
def test_throttling_by_cgroups(tmp_path: Path, files: dict[str, str], microseconds: int | None) -> None:
    assert cgroup_throttled_us(made_up(tmp_path, files)) == microseconds


def test_this_machine_counts_the_work_of_this_process() -> None:
    before = device_state()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    after = device_state()
    own_s = (after["own_ticks"] - before["own_ticks"]) / after["ticks_per_s"]
    assert own_s >= 0.25
    assert after["busy_ticks"] - before["busy_ticks"] >= after["own_ticks"] - before["own_ticks"] - 2
    assert after["clocks_ns"]["monotonic"] > before["clocks_ns"]["monotonic"]
