"""What runs on a data folder: who holds it, with which configuration, on which Ray."""
