"""For tests of agents: the cloud in memory, and releases small enough to be built in one."""
