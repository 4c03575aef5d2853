"""The policy of a pool of teachers: fitted on what cheaper ones said, proved, watched, withdrawn."""
