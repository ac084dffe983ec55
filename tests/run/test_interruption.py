"""What asks a run to stop, and who hears of it afterwards."""

import os
import signal
from types import FrameType

import pytest

from repro.run import interruption
from repro.run.interruption import Interrupted, Stop, handling

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_a_signal_asks_to_stop_and_is_taken_for_that_long_only(number: signal.Signals) -> None:
    before, stop = [signal.getsignal(number) for number in NUMBERS], Stop()
    with stop.listening():
        assert not stop.asked
        send(number)
        assert stop.asked
        with pytest.raises(Interrupted) as interrupted:
            stop.check()
    assert interrupted.value.code == 75
    assert [signal.getsignal(number) for number in NUMBERS] == before


def works(number: signal.Signals, done: list[object]) -> None:
    """A run that is sent a signal, saves and stops."""
    stop = Stop()
    with stop.listening():
        send(number)
        done.append("saved")
        stop.check()


def test_who_queues_a_job_again_is_handed_its_signal_once_all_is_saved() -> None:
    done: list[object] = []

    def queue(number: int, frame: FrameType | None) -> None:
        done.append(signal.Signals(number))
        raise SystemExit(144)

    with handling(queue, [signal.SIGUSR2]):
        with pytest.raises(SystemExit) as ended:
            works(signal.SIGUSR2, done)
        assert ended.value.code == 144
        assert done == ["saved", signal.SIGUSR2]
        with pytest.raises(Interrupted):
            works(signal.SIGTERM, done)
    assert done[2:] == ["saved"], "by its own signal only"


def test_a_signal_interrupts_at_once_if_it_is_sent_anew_and_not_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop = Stop()
    with stop.listening():
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        monkeypatch.setattr(interruption, "ECHO", 0.0)
        send(signal.SIGUSR2)
        send(signal.SIGUSR2)
        with pytest.raises(Interrupted):
            send(signal.SIGTERM)
