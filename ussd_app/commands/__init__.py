"""What `ussd-app` can do besides serving and working."""
