"""The search for good hyperparameters: what to try next, when to stop a trial, which is best."""
