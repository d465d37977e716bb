"""What each route does, written once for every framework and both colours."""
