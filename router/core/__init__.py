"""All that decides, without a world: no file, no clock, no network, no chance but what is handed in."""
