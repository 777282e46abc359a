"""How much of a test there is: `./dev test --all` sets ISTMO_TEST_LONG."""

import os

IS_LONG = bool(os.environ.get("ISTMO_TEST_LONG"))


def amount(usual, long):
    return long if IS_LONG else usual
