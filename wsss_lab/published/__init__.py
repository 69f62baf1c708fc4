"""The papers' printed numbers, claims and lists of artifacts, as CSV files; read by wsss_lab.lab.published."""
