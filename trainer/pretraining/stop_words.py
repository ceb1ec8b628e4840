"""English words that say little of what a text is about: its function words, as most lists of stop words have them."""

STOP_WORDS = frozenset(
    """
    a about above after again against all also am an and any are aren as at be because been before being below between
    both but by can cannot could couldn did didn do does doesn doing don down during each either else ever every few
    for from further had hadn has hasn have haven having he her here hers herself him himself his how however i if in
    into is isn it its itself just ll may me might mine more most much must mustn my myself neither no nor not now of
    off on once only or other our ours ourselves out over own per re s same shall shan she should shouldn so some such
    t than that the their theirs them themselves then there these they this those though through thus to too under
    until up upon us ve very was wasn we were weren what when where whether which while who whom whose why will with
    within without would wouldn yet you your yours yourself yourselves
    """.split()  # noqa: SIM905  (a list of 190 quoted words is not easier to read)
)
