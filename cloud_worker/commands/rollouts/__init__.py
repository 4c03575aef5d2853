"""Commands over rollouts, and over the labels that they go by."""
