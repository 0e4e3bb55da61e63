"""Being stopped: by Ctrl-C, or by the SIGTERM that a cluster and `timeout` send. Both reach every process of a group."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading

STOPPING = {signal.SIGINT, signal.SIGTERM}


@contextlib.contextmanager
def _handled(numbers, handler):
    """Outside of the main thread, where no signal can be handled, nothing."""
    here = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number in numbers} if here else {}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def sigterm_as_ctrl_c():
    """SIGTERM raises KeyboardInterrupt, too."""

    def handler(*_):
        raise KeyboardInterrupt

    return _handled({signal.SIGTERM}, handler)


def setting(stop: threading.Event):
    """Either sets `stop`, so that a run ends between two steps and can write its checkpoint; a second Ctrl-C interrupts. A
    second SIGTERM does not: srun and torchrun pass on what reaches the whole group anyway."""

    def handler(number, _):
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    return _handled(STOPPING, handler)


@contextlib.contextmanager
def held():
    """Both wait until the block is left, and the processes started in it never see them until they ask to: what to do is
    the parent's to decide."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Nobody would stop or hear a worker whose parent was killed: it ends at once, and with it the kernel that it started."""
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
