"""Signals wait until the block is over, and then do what they would have done."""

from __future__ import annotations

import signal

import pytest

from edgegd.deferred_interrupts import deferred_interrupts


def test_ctrl_c_comes_after_the_block() -> None:
    done, before = [], signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), deferred_interrupts():
        signal.raise_signal(signal.SIGINT)
        done.append("the rest of the block")
    assert done and signal.getsignal(signal.SIGINT) is before


def test_an_error_in_the_block_puts_the_handlers_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="own"), deferred_interrupts():
        raise ValueError("own")
    assert signal.getsignal(signal.SIGTERM) is before
