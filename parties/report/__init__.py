"""What happened in one session, for people: facts out of the contract and the log, and a page that can be printed."""
