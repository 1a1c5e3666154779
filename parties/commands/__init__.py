"""What an organisation's command line does, a module for each group of commands."""
