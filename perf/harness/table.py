"""The figures as a Markdown table, with what they must show."""
import statistics

# Fewer rounds show a figure, but prove nothing.
ROUNDS_FOR_A_VERDICT = 7


def quartiles(values):
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method='inclusive')
    return low, middle, high


def number(value):
    if value >= 1000:
        return f'{value:,.0f}'
    return f'{value:.3g}'


def cell(values):
    low, middle, high = quartiles(values)
    return number(middle) if len(values) < 2 else f'{number(middle)} ({number(low)}-{number(high)})'


def word(is_met, rounds):
    if rounds < ROUNDS_FOR_A_VERDICT:
        return f'needs {ROUNDS_FOR_A_VERDICT} rounds'
    return 'met' if is_met else 'NOT MET'


def is_ratio_met(ours, theirs, bar):
    """At most `bar` times theirs. Only 1.0 has slack: 5 %, or quartiles that overlap."""
    our_low, our_middle, our_high = quartiles(ours)
    their_low, their_middle, their_high = quartiles(theirs)
    if bar != 1.0:
        return our_middle <= bar * their_middle
    overlap = our_low <= their_high and their_low <= our_high
    return our_middle <= 1.05 * their_middle or overlap


def comparison(ours, theirs, bar=None):
    """What istmo needs of what the other peer needs, and whether that is within the bar."""
    ratio = f'{quartiles(ours)[1] / quartiles(theirs)[1]:.3g}x'
    if bar is None:
        return ratio
    rounds = min(len(ours), len(theirs))
    return f'{ratio} (goal {bar:g}x: {word(is_ratio_met(ours, theirs, bar), rounds)})'


def against_limit(ours, limit):
    middle = quartiles(ours)[1]
    return f'{number(middle)} (goal {number(limit)}: {word(middle <= limit, len(ours))})'


def what_istmo_needs(case, results, peer):
    ours = results[case.peers[0]][case.compared]
    if peer != case.peers[0]:
        return comparison(ours, results[peer][case.compared], case.bars.get(peer))
    return '' if case.limit is None else against_limit(ours, case.limit)


def description(machine, options, minutes, suites):
    links = ', '.join(f'{peer} {suite}' for peer, suite in sorted(suites.items()))
    return (f'Machine: {machine}. Medians of {options.rounds} interleaved rounds of '
            f'{options.seconds} s (quartiles in brackets); idle: {options.connections} '
            f'connections. The whole took {minutes:.1f} min.'
            + (f' Cipher suites of the links: {links}.' if links else ''))


def render(cases, figures, head):
    lines = [head, '']
    for case in cases:
        results = figures.get(case.name, {})
        if not results:
            continue
        names = list(next(iter(results.values())))
        lines += [f'**{case.title}**', '', '| program | ' + ' | '.join(names) + ' | istmo needs |',
                  '|---' * (len(names) + 2) + '|']
        for peer in case.peers:
            row = [cell(results[peer][name]) for name in names]
            row.append(what_istmo_needs(case, results, peer))
            lines.append(f'| {peer} | ' + ' | '.join(row) + ' |')
        lines.append('')
    return '\n'.join(lines)
