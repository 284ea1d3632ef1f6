"""What a list of times says: medians, spreads, ratios of lists taken in turn."""
import math
import statistics


def spread(times):
    """Half the distance between the quartiles, as a part of the median."""
    if len(times) < 2:
        return 0.0
    low, _, high = statistics.quantiles(times, n=4)
    return (high - low) / 2 / statistics.median(times)


def ratio(times, reference):
    """Round by round: (median, and the 95 % interval of the median by order statistics)."""
    r = sorted(a / b for a, b in zip(times, reference, strict=True))
    low = max(0, math.floor(len(r) / 2 - 0.98 * math.sqrt(len(r))))
    return statistics.median(r), r[low], r[len(r) - 1 - low]


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))
