"""What is compared from one observation to the next: pure, state and facts in, notes out."""
