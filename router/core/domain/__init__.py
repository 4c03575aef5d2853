"""What is spoken of: queries, answers, tasks, records, and when two answers are the same."""
