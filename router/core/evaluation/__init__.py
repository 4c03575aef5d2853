"""How good a cascade, a model or a judge is, on answers that are known."""
