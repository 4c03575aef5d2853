"""Runs on the device: answers what it can, escalates what it can not, learns from every escalation."""
