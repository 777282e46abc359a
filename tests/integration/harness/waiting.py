"""Waiting for real state, instead of for time."""

import time

PATIENCE_SECONDS = 20  # on a busy machine; a condition that holds is seen at once


class WaitedInVain(AssertionError):
    pass


def wait_until(condition, what, limit=PATIENCE_SECONDS):
    """The first true value of condition(). Its last exception or value explains a failure."""
    deadline = time.monotonic() + limit
    pause = 0.005
    while True:
        try:
            seen = condition()
            if seen:
                return seen
        except (OSError, LookupError, ValueError, AssertionError) as problem:
            seen = problem
        if time.monotonic() > deadline:
            raise WaitedInVain(f"waited {limit} s for {what}; last seen: {seen!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
