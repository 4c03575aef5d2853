"""Headrace decides here: values in, values out. Start at ``query.py``, then ``deferral.py``."""
