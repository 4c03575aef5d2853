"""Runs on the Ray cluster: gateway, teachers, distillation log, refresh, releases, fleet."""
