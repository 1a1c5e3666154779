"""What is measured: each system with its own processes."""
