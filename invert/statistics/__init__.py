"""The statistics of an honest verdict: thresholds, p-values, intervals, likelihood ratios.

Everywhere a score s is lower the more an image looks like network G, and the rule is "attribute when s < threshold".
Negatives are scores of images that are not G's, positives those of G's own.
"""

__all__: list[str] = []
