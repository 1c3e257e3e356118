"""What Python code and notebooks call: sweeps from objects, and runs that show their answer."""
