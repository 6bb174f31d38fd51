"""What there is to send."""
