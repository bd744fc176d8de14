"""Parameters: what params.yaml and runs.yaml hold, what each value may be, and how a stage reads them."""
