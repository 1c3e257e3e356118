"""What a person sees while a run goes on, in a terminal, a log or a notebook."""
