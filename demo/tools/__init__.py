"""The workload ``tools``: spoken requests, and the tool calls that they mean."""
