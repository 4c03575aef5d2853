"""The larger models: each answers a batch of questions, one answer after the other."""

from __future__ import annotations

from cloud_worker.teachers.base import NoAnswer, Question, Teacher, TeacherAnswer
from cloud_worker.teachers.loading import load_teacher

__all__ = ["NoAnswer", "Question", "Teacher", "TeacherAnswer", "load_teacher"]
