"""What ``status`` says of a failure."""

import pytest
from ray.exceptions import RayTaskError, WorkerCrashedError

from cloud_worker.refresh.failure_reason import reason_of
from router.core.errors import ConfigError, ModelError

TRACEBACK = '\x1b[36mray::fit()\x1b[39m (pid=7, ip=10.0.0.3)\n  File "/opt/ours.py", line 1\nModelError: no tokenizer'


@pytest.mark.parametrize("as_raised", [lambda error: error, RayTaskError.as_instanceof_cause])
def test_a_failure_in_a_ray_task_is_told_as_its_cause(as_raised):
    error = RayTaskError("fit", TRACEBACK, ModelError("the tokenizer does not fit"))
    assert reason_of(as_raised(error)) == "the tokenizer does not fit"


def test_an_error_of_our_own_is_told_in_one_line():
    said = reason_of(ConfigError("cloud.toml", "base", "is no folder\nwith more"))
    assert said == r"cloud.toml: base: is no folder\nwith more"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(28, "No space left", "/var/ours/cache"), "OSError"),
        (RayTaskError("fit", TRACEBACK, RuntimeError("at 0x3")).as_instanceof_cause(), "RuntimeError"),
        (WorkerCrashedError(), "WorkerCrashedError"),
    ],
)
def test_any_other_error_is_named_by_its_kind_alone(error, kind):
    assert reason_of(error) == f"{kind}; the log of the refresher says more"
