"""What holds for every test: how hypothesis behaves on a machine that is busy, and in CI."""

import os

from hypothesis import HealthCheck, settings

# A busy machine draws slowly; that says nothing about the code. CI draws the same examples every time: what fails there
# is the change, not luck. New examples are drawn wherever people run the tests.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
