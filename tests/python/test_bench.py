"""The benchmark's page and plots, from numbers made up here."""
import copy
import json
import pathlib
import sys
import tempfile
import xml.etree.ElementTree as xml

import common

sys.path.insert(0, str(common.ROOT / "bench"))
import plot
import report
import stats


def row(*ms, off=1.0):
    return {"ms": list(ms), "compile_s": 2.5, "bytes": 3e6, "from_f64": 1e-6, "from_eager": 2e-6, "of_eagers_error": off}


MADE_UP = {
    "date": "2000-01-01", "commits": {"rounds": ["abc"], "sizes": ["abb", "abc"]}, "engines": ["eager", "iree", "openvino", "cierge"], "versions": {"eager": "9.9"}, "sizes_threads": "2",
    "cpu": {"name": "A <CPU>", "model": "x", "has": ["avx2"], "cores": 2, "system": "Linux"},
    "work": {"net": {"flops": 2e9, "bytes": 1e6}},
    "threads": {"2": {"limits": {"fma_gflops": 100.0, "sgemm_gflops": 90.0, "read_gb_s": 10.0, "copy_gb_s": 20.0},
                      "models": {"net": {"others": 0.25, "rows": {"eager": row(400, 400, 400, 400), "iree": row(1, 1, 1, 1, off=5.0), "openvino": row(100, 110, 90, 100),
                                                                  "cierge": row(50, 50, 50, 50)}},
                                 "odd": {"others": 0, "rows": {"eager": row(3, 3, 3, 3), "iree": {"error": "no"}, "cierge": row(4, 4, 4, 4)}}}}},
    "native": {"net": {"nodes": 4, "native": 2, "eager_ms": 10.0, "native_ms": 9.0, "left": [["a", "aten.x", 0.25], ["b", "aten.y", 0.75]]}},
    "start": {"net": {"cierge, C": {"start_ms": [9, 1, 2], "call_ms": 1, "held_kb": 2000}},
              "big": {"cierge, C": {"start_ms": [3], "call_ms": 1, "held_kb": 40000}, "planned": {"weights": 4e6, "arena": 12e6, "bound": 10e6}}},
    "sizes": {"net, 3 images": {"others": 0, "rows": {"eager": row(4, 4, 4, 4), "cierge": row(2, 2, 2, 2)}}},
    "dynamic": {"net": [{"size": [2, 64], "symbolic": [11, 11, 11, 11], "fixed": [10, 10, 10, 10]}]},
}


def test_statistics():
    assert stats.spread([1, 1, 1, 1]) == 0 and abs(stats.spread([90, 100, 100, 110]) - 0.075) < 1e-9
    assert stats.ratio([2, 8, 6], [1, 2, 2]) == (3, 2, 4)
    many = stats.ratio([float(k) for k in range(101)], [1.0] * 101)
    assert many[0] == 50 and 35 < many[1] < 45 and many[1] + many[2] == 100
    assert abs(stats.geometric_mean([1, 4]) - 2) < 1e-9


def test_tables():
    page = report.text(copy.deepcopy(MADE_UP)).splitlines()
    for line in ("| net | 400 ±0 % | 1 ±0 % ✗ | 100 ±8 % | 50 ±0 % | openvino | **2.00** (1.80 … 2.20) | 0.25 |",  # wrong results win nothing; empty: not asked
                 "| odd | 3 ±0 % | – |  | 4 ±0 % | eager | **0.75** (0.75 … 0.75) | 0.00 |",
                 "| net | 2 | 1 | multiply-adds | 20 | 40 % | 20 % | openvino |",
                 "| net | 2 | – | – | – | – | – | – |", "| net | 2 | – | – | – | – | – | – | – | – | – | – |",
                 "| big | 40 ✗ | – | – | – | – | – | – | 4 | 12 | 10 | 36 |", "- `iree, odd: no`", "| net, 3 images | 4 ±0 % | 2 ±0 % | eager | **2.00** (2.00 … 2.00) | 0.00 |",
                 "| net | 4 | 2 | 50.0 % | 90.0 % ✗ | aten.y 7.5 %, aten.x 2.5 % |", "| net | 2 × 64 | hint | 10 | 11 | **1.10** (1.10 … 1.10) |"):
        assert line in page, line
    assert any(" 4 interleaved rounds. eager 9.9." in line for line in page)
    assert any(line.startswith("Meanwhile other programs kept 0.1 cores busy") and line.endswith("column).") for line in page)
    busy = {"net": {"others": 1.5}}
    assert report.load_of(busy, 1, 2).endswith("say little.") and report.load_of(busy, 1, 4).endswith("column).")
    assert any("above 2. cierge is faster than the best peer, by the whole interval, on 1 of 2; slower on 1." in line for line in page)


def test_plot():
    with tempfile.TemporaryDirectory() as folder:
        report.write(copy.deepcopy(MADE_UP), folder)
        root = xml.parse(pathlib.Path(folder, "threads2.svg")).getroot()
        assert "![time of a call](threads2.svg)" in pathlib.Path(folder, "README.md").read_text()
    marks = {t.text: float(g.find("{*}circle").get("cx")) for g in root.iter("{http://www.w3.org/2000/svg}g") for t in g.iter("{http://www.w3.org/2000/svg}title")}
    assert round(marks["openvino: 2.00 (1.80 … 2.20)"] - plot.x_of(2), 1) == 0 and round(marks["eager: 8.00 (8.00 … 8.00)"] - plot.x_of(8), 1) == 0
    assert plot.x_of(100) == plot.x_of(plot.MOST) and plot.LEFT == plot.x_of(0.01) < plot.x_of(1) < plot.x_of(2)
    assert "A <CPU>, 2 threads, 2000-01-01" in [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]


def test_page_is_what_the_numbers_say():
    folder = common.ROOT / "bench" / "results"
    if (folder / "results.json").exists():
        assert (folder / "README.md").read_text() == report.text(json.loads((folder / "results.json").read_text())), "python bench/run.py --report"


if __name__ == "__main__":
    common.main(globals())
