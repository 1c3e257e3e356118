"""What is known of the machine while it times."""

import os
import subprocess
import sys
import time

import pytest

from sparsebench.timing import machine as system
from sparsebench.timing.machine import OtherWork

STAT = "cpu  {user} 0 {system} {idle} 5 {irq} 0 {steal} 0 0\ncpu0 1 2 3\n"

linux = pytest.mark.skipif(not os.path.exists("/proc/stat"), reason="only Linux tells how busy its cores are")


@pytest.fixture
def machine(monkeypatch):
    """A machine whose counters are set by hand: seconds of each kind."""
    ticks = os.sysconf("SC_CLK_TCK")
    state = {"user": 0, "system": 0, "idle": 0, "irq": 0, "steal": 0, "own": 0.0, "now": 0.0}

    def text(path):
        return STAT.format(**{name: round(value * ticks) for name, value in state.items()})

    monkeypatch.setattr(system, "_text", text)
    monkeypatch.setattr(system, "_own_seconds", lambda: state["own"])
    monkeypatch.setattr(system.time, "monotonic", lambda: state["now"])
    return state


def test_what_others_do_is_what_is_done_less_our_own_share(machine):
    others = OtherWork()
    machine.update(user=14, system=4, irq=2, idle=100, own=10, now=10)
    assert others.read() == pytest.approx(1.0)


def test_an_idle_machine_and_a_greedy_hypervisor_are_no_work_of_others(machine):
    others = OtherWork()
    machine.update(user=10, idle=100, steal=50, own=10, now=10)
    assert others.read() == 0.0


def test_a_system_that_does_not_tell_gives_no_figure(machine, monkeypatch):
    monkeypatch.setattr(system, "_text", lambda path: "")
    assert OtherWork().read() is None


@linux
def test_a_process_of_somebody_else_shows():
    burn = "import time\nprint(flush=True)\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", burn], stdout=subprocess.PIPE)
    process.stdout.readline()
    others = OtherWork()
    time.sleep(0.5)
    shown = others.read()
    process.kill()
    process.communicate()
    assert shown > 0.2


@pytest.mark.parametrize(
    ("texts", "megabytes"),
    [(["32K", "1024K", "36608K"], 35.75), ([], 32), (["garbage", ""], 32), (["48K", "1048576K"], 256)],
)
def test_the_largest_cache_is_what_the_system_tells_up_to_what_one_network_fills(monkeypatch, texts, megabytes):
    monkeypatch.setattr(system, "_cache_texts", lambda: texts)
    assert system.largest_cache_bytes() == megabytes * 1024**2
