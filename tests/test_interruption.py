import os
import signal

import pytest

from surefoot.interruption import Interrupted, stopped_by_signal


def test_sigterm_outside_the_training_loop_is_an_interruption_and_its_handler_goes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="goes on from what is saved"), stopped_by_signal():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
