"""Language: students that write, what they learn from, and how they are trained.

In the order of the flow: ``recipes`` turn log rows into ``examples``, ``trainer`` fits a model of ``architectures``
to them, ``answering`` asks it.
"""
