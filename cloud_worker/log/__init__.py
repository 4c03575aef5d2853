"""The distillation log: durable spools, the table, and what is read from it."""
