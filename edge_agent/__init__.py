"""Runs on the device: answers what it can, escalates what it can not, learns from every escalation."""

import router  # noqa: F401 - before any library that would call home: ``router.io.quiet_libraries``
