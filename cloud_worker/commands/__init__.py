"""``headrace-cloud``'s commands for operators."""
