"""The larger models: each answers a batch of questions, one reply after the other."""

from __future__ import annotations

from cloud_worker.teachers.base import NoAnswer, NotNow, OutOfOrder, Question, Reply, Teacher, TeacherAnswer

__all__ = ["NoAnswer", "NotNow", "OutOfOrder", "Question", "Reply", "Teacher", "TeacherAnswer"]
