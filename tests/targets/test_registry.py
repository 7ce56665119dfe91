"""Names of targets: kept whole, found again, and what is unknown or misspelt is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgegd.errors import EmulatedTargetError, TargetUnknownError
from edgegd.targets.base import require_real
from edgegd.targets.command import CommandTarget
from edgegd.targets.local import LocalTarget
from edgegd.targets.registry import TargetEntry, add_target, find_target, load_targets, remove_target, targets_file
from edgegd.targets.ssh import SshTarget

PI = TargetEntry("pi5", "ssh://pi@192.168.1.20:2222", python="~/venv/bin/python", ssh_config="/etc/ssh/mine")
ARM = TargetEntry("arm", "command:qemu-aarch64 python3", emulated=True, folder="/srv/shared")


@pytest.fixture(autouse=True)
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "edgegd" / "targets.yaml"


def test_what_is_added_is_found_again(own_file: Path) -> None:
    assert load_targets() == {} and targets_file() == own_file
    add_target(PI)
    add_target(ARM)
    assert load_targets() == {"pi5": PI, "arm": ARM}
    pi, arm = find_target("pi5"), find_target("arm")
    assert isinstance(pi, SshTarget) and (pi.name, pi.emulated) == ("pi5", False)
    assert isinstance(arm, CommandTarget) and (arm.name, arm.emulated) == ("arm", True)
    assert arm.folder == Path("/srv/shared") and arm.prefix == ("qemu-aarch64", "python3")


def test_adding_again_replaces_and_removing_forgets() -> None:
    add_target(PI)
    add_target(TargetEntry("pi5", "ssh://other"))
    assert load_targets()["pi5"].url == "ssh://other"
    remove_target("pi5")
    assert load_targets() == {}
    with pytest.raises(TargetUnknownError):
        remove_target("pi5")


def test_local_and_urls_need_no_name() -> None:
    assert find_target("local") == LocalTarget()
    assert find_target("ssh://pi@board").name == "ssh://pi@board"
    assert isinstance(find_target("command:docker run python3"), CommandTarget)


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    add_target(PI)
    with pytest.raises(TargetUnknownError, match="did you mean pi5"):
        find_target("pi4")
    with pytest.raises(TargetUnknownError, match="edgegd target add router"):
        find_target("router")


@pytest.mark.parametrize(
    "entry",
    [
        TargetEntry("local", "ssh://pi@board"),
        TargetEntry("a b", "ssh://pi@board"),
        TargetEntry("", "ssh://pi@board"),
        TargetEntry("pi", "ssh://board", python="python3 '"),
        TargetEntry("pi", "http://board"),
        TargetEntry("pi", "board"),
        TargetEntry("pi", "command:"),
    ],
    ids=["local", "blank", "empty", "open quote", "http", "no scheme", "no command"],
)
def test_what_cannot_be_a_target_is_not_stored(entry: TargetEntry, own_file: Path) -> None:
    with pytest.raises(TargetUnknownError):
        add_target(entry)
    assert not own_file.exists()


def test_every_mistake_of_the_file_is_told(own_file: Path) -> None:
    own_file.parent.mkdir(parents=True)
    lines = ["pi: {url: ssh://pi, pyton: python3}", "box: {python: x}", "arm: {url: ssh://arm, emulated: 'yes'}"]
    own_file.write_text("\n".join(lines))
    with pytest.raises(TargetUnknownError) as caught:
        find_target("pi")
    for words in ("did you mean python?", "box has no url", "arm.emulated is 'yes'"):
        assert words in str(caught.value)
    own_file.write_text("- a list")
    with pytest.raises(TargetUnknownError, match="no mapping"):
        load_targets()
    own_file.write_text("{")
    with pytest.raises(TargetUnknownError, match="cannot be understood"):
        load_targets()


def test_latency_is_refused_where_the_cpu_is_emulated() -> None:
    require_real(LocalTarget())
    with pytest.raises(EmulatedTargetError, match="latency is refused"):
        require_real(ARM.open())
