"""Parameters of params.yaml: what there is, what each may be, and how a stage reads them."""
