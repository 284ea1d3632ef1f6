"""The rounds as a plot: for every model, each engine's time in units of cierge's, on a logarithmic axis; SVG that needs nothing else."""
import html
import math

import stats

COLOURS = {"eager": "#8a8f98", "torchscript": "#b7791f", "inductor": "#c4551d", "aoti": "#9b2c4d", "onnxruntime": "#2364aa", "openvino": "#2f7d6d", "iree": "#6b4fa0"}
LEFT, WIDTH, TOP, ROW, LEAST, MOST = 110, 720, 64, 34, 0.5, 16
TICKS = (0.5, 1, 2, 4, 8, 16)


def x_of(ratio):
    return LEFT + WIDTH * math.log(min(max(ratio, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)


def svg(models, title):
    """models: rows by engine, by model."""
    shown = {m: rows for m, rows in models.items() if "ms" in rows.get("cierge", {})}
    bottom = TOP + ROW * len(shown)
    engines = [e for e in COLOURS if any("ms" in rows.get(e, {}) for rows in shown.values())]
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 30} {bottom + 44}" font-family="sans-serif" font-size="12">',
           '<rect width="100%" height="100%" fill="#fff"/>', f'<text x="{LEFT}" y="20" font-size="14">{html.escape(title)}</text>']
    for k, e in enumerate(engines):
        out.append(f'<circle cx="{LEFT + 6 + 100 * k}" cy="40" r="4" fill="{COLOURS[e]}"/><text x="{LEFT + 15 + 100 * k}" y="44">{e}</text>')
    for t in TICKS:
        x, heavy = x_of(t), t == 1
        out.append(f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="{"#222" if heavy else "#dde1e6"}"/><text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{"cierge" if heavy else f"{t:g}"}</text>')
    out.append(f'<text x="{LEFT + WIDTH / 2}" y="{bottom + 36}" text-anchor="middle">time of a call ÷ cierge\'s, 95 % interval of the median; at the edge: {MOST:g} or more</text>')
    for k, (model, rows) in enumerate(shown.items()):
        y = TOP + ROW * k + ROW / 2
        out.append(f'<path d="M{LEFT} {y + ROW / 2}h{WIDTH}" stroke="#eef0f3"/><text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{html.escape(model)}</text>')
        for i, e in enumerate(engines):
            if "ms" not in rows.get(e, {}):
                continue
            middle, low, high = stats.ratio(rows[e]["ms"], rows["cierge"]["ms"])
            at = y + (i - (len(engines) - 1) / 2) * 3.4
            out.append(f'<g stroke="{COLOURS[e]}" fill="{COLOURS[e]}"><title>{e}: {middle:.2f} ({low:.2f} … {high:.2f})</title>'
                       f'<path d="M{x_of(low):.1f} {at:.1f}H{x_of(high):.1f}"/><circle cx="{x_of(middle):.1f}" cy="{at:.1f}" r="3.2"/></g>')
    return "\n".join([*out, "</svg>\n"])
