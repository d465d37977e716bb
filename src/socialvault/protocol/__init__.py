"""OAuth without I/O, one file per endpoint: build a request, judge a response."""
