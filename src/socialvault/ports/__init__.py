"""What the vault needs from outside, as Protocols; both colours side by side."""
