"""Commands to devices over a broker alone: who is meant, what is asked, what came of it."""
