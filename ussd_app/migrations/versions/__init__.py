"""Every step the database has taken, oldest first."""
