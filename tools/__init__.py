"""What measures the repository itself."""
