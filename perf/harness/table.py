"""The figures as a Markdown table, with what they must show."""
import statistics


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


def verdict(ours, theirs, bar):
    """Met when the ratio of medians is within 5 % of the bar, or, at 1.0, the quartiles overlap."""
    our_low, ours_middle, our_high = quartiles(ours)
    their_low, theirs_middle, their_high = quartiles(theirs)
    ratio = ours_middle / theirs_middle
    overlap = bar == 1.0 and our_low <= their_high and their_low <= our_high
    word = 'met' if ratio <= bar * 1.05 or overlap else 'NOT MET'
    return f'{ratio:.2f}x (goal {bar:g}x: {word})'


def render(cases, figures, machine, options):
    lines = [f'Machine: {machine}. Medians of {options.rounds} interleaved rounds of '
             f'{options.seconds:g} s (quartiles in brackets); idle: '
             f'{options.connections} connections, once.', '']
    for case in cases:
        results = figures.get(case.name, {})
        if not results:
            continue
        names = list(next(iter(results.values())))
        lines += [f'**{case.title}**', '', '| program | ' + ' | '.join(names) + ' | istmo needs |',
                  '|---' * (len(names) + 2) + '|']
        ours = results[case.peers[0]]
        for peer in case.peers:
            row = [cell(results[peer][name]) for name in names]
            ratios = [verdict(ours[name], results[peer][name], bar)
                      for name, bar in case.bars.items()] if peer != case.peers[0] else ['']
            lines.append(f'| {peer} | ' + ' | '.join(row) + ' | ' + ' '.join(ratios) + ' |')
        lines.append('')
    return '\n'.join(lines)
