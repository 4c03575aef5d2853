"""Runs on the Ray cluster: gateway, teachers, distillation log, refresh, releases, fleet."""

import router  # noqa: F401 - before any library that would call home: ``router.io.quiet_libraries``
