"""Orchestration: sessions, the REST service, the command line. Never sees a share."""
