"""The lab: run store, artifacts, claims, notebook runner and command line."""
