"""What is promised of a task: gathered, described as values, told in words and as metrics."""
