"""Writes what compare.py measured into the document, between its marks, and the plot beside it:

    python3 report.py [--results out/peers] [--doc docs/performance-cpu.md]

The ratio is the peer's time over ours within a round, the peer being the fastest one of the cell by its median. Bars end
at the least ratio of all rounds; a line goes on to the largest, with a mark at the median.
"""
import argparse, glob, json, math, os, re, statistics
from compare import CELLS

NAMES = {"forward": "forward", "vjp": "value + VJP", "jvp": "value + JVP", "d2": "value + D²"}
COLOURS = {"forward": "#1b6ca8", "vjp": "#2a9d8f", "jvp": "#e9a23b", "d2": "#b5446e"}
# Cells that are not measured, and why.
LEFT_OUT = {
    r"ffhq/\d/8/(vjp|jvp|d2)": "ffhq's derivatives in batches of 8: both sides at once, with their stored activations, take more than 24 GB",
}


def summary(result):
    rounds = result["rounds"]
    medians = {n: statistics.median(r[n] for r in rounds) for n in rounds[0]}
    others = sorted((n for n in medians if n != "ours"), key=medians.get)
    ratios = sorted(r[others[0]] / r["ours"] for r in rounds)
    return medians, others, ratios


def table(results):
    yield "| network | threads | batch | work | ours, ms | fastest peer, ms | ratio: min | median | max | rounds | other peers, ms |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for r in results:
        network, threads, batch, work = r["cell"].split("/")
        medians, others, ratios = summary(r)
        ms = lambda n: f"{1e3 * medians[n]:.1f}" if medians[n] < 1 else f"{1e3 * medians[n]:.0f}"
        rest = ", ".join([f"{n} {ms(n)}" for n in others[1:]] + [f"{n}: not run" for n in r["missing"]])
        yield f"| {network} | {threads} | {batch} | {NAMES[work]} | {ms('ours')} | {others[0]} {ms(others[0])} | {ratios[0]:.2f} | {statistics.median(ratios):.2f} | {ratios[-1]:.2f} | {len(ratios)} | {rest} |"


def plot(results):
    left, width, row = 210, 560, 18
    top = max(summary(r)[2][-1] for r in results)
    low, high = math.log(0.8), math.log(1.1 * top)
    x = lambda v: left + width * (math.log(max(v, 0.8)) - low) / (high - low)
    height = 46 + row * len(results) + 26
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 60}" height="{height}" font-family="sans-serif" font-size="11">',
           '<rect width="100%" height="100%" fill="white"/>',
           '<text x="10" y="16" font-size="13">How many times as fast as the fastest peer: least of all rounds (bar), median, largest</text>']
    for i, (work, colour) in enumerate(COLOURS.items()):
        out.append(f'<rect x="{10 + 110 * i}" y="24" width="10" height="10" fill="{colour}"/><text x="{24 + 110 * i}" y="33">{NAMES[work]}</text>')
    base = 46 + row * len(results)
    for tick in (1, 1.3, 2, 3, 5, 10, 20, 40):
        if tick <= 1.1 * top:
            dash = ' stroke-dasharray="4 3"' if tick == 1.3 else ""
            out.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="42" y2="{base}" stroke="{"black" if tick == 1 else "#bbb"}"{dash}/><text x="{x(tick):.1f}" y="{base + 14}" text-anchor="middle">{tick:g}×</text>')
    for i, r in enumerate(results):
        network, threads, batch, work = r["cell"].split("/")
        ratios = summary(r)[2]
        least, mid, most, y = ratios[0], statistics.median(ratios), ratios[-1], 46 + row * i
        out.append(f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">{network}, {threads} thread{"s" if threads != "1" else ""}, batch {batch}</text>')
        out.append(f'<rect x="{min(x(1), x(least)):.1f}" y="{y + 2}" width="{abs(x(least) - x(1)):.1f}" height="11" fill="{COLOURS[work]}"/>')
        out.append(f'<line x1="{x(least):.1f}" x2="{x(most):.1f}" y1="{y + 7.5}" y2="{y + 7.5}" stroke="#444"/><circle cx="{x(mid):.1f}" cy="{y + 7.5}" r="2.5" fill="#444"/>')
        out.append(f'<text x="{x(most) + 5:.1f}" y="{y + 11}">{least:.2f}</text>')
    return "\n".join(out + ["</svg>", ""])


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--results", default="out/peers")
    p.add_argument("--doc", default="docs/performance-cpu.md")
    a = p.parse_args()
    found = {}
    for file in glob.glob(os.path.join(a.results, "*.json")):
        with open(file) as f:
            result = json.load(f)
        found[result["cell"]] = result
    results = [found[c] for c in CELLS if c in found]
    m = results[-1]["machine"]
    dates = sorted({r["date"] for r in results})
    missing = {c: next((why for cells, why in LEFT_OUT.items() if re.fullmatch(cells, c)), "not yet") for c in CELLS if c not in found}
    lines = [f"{' and '.join(dates)}, {m['processor']}, {m['processors']} processors, PyTorch {m['torch']}, ONNX Runtime {m['onnxruntime']}.", "",
             *table(results), "", f"![ratios]({os.path.basename(a.doc).replace('.md', '.svg')})", ""]
    if missing:
        lines += ["Not measured:", ""] + [f"- {why}: {', '.join(c for c in missing if missing[c] == why)}" for why in dict.fromkeys(missing.values())] + [""]
    with open(a.doc) as f:
        before, rest = f.read().split("<!-- peers: written by tools/peers/report.py -->\n")
    after = rest.split("<!-- end of peers -->\n")[1]
    with open(a.doc, "w") as f:
        f.write(before + "<!-- peers: written by tools/peers/report.py -->\n" + "\n".join(lines) + "<!-- end of peers -->\n" + after)
    with open(a.doc.replace(".md", ".svg"), "w") as f:
        f.write(plot(results))
