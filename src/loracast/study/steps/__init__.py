"""The single steps on a caller's own long table: adapting, forecasting, evaluating, a file each.

What was asked for is checked before torch is imported, so that a refusal costs nothing.
"""
