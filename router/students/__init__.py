"""Runs students: encoders by onnxruntime, writers in this process or at a server beside it."""
