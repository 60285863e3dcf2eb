"""What several files of one company, or of every kind of provider, share: tokens, transports, envelopes."""
