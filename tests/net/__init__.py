"""The net: what must not change, recorded once by version 0.1.0; see record.py."""
