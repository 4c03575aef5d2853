"""The next tier, as a device sees it: asked while it can be reached, left alone while it can't."""
