"""What an organisation keeps of its own: encrypted data sets, their schemas, and which records took part where."""
