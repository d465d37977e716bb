"""What providers tell about an account, unasked: a person removed this application, or wants their data deleted."""
