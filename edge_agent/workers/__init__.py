"""Several processes behind one port: workers answer what needs nothing kept, and hand the rest over to the owner."""
