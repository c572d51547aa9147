"""From bytes to answers: the road of a request."""
