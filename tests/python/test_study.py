"""`cierge study`: which programs it makes, that all of them give what PyTorch gives, what it writes."""
import json
import xml.etree.ElementTree as xml

import common
from common import SCRATCH, cli, main, np, torch


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.norm = torch.nn.Linear(16, 24), torch.nn.Linear(24, 16), torch.nn.LayerNorm(16)

    def forward(self, x):
        y = torch.nn.functional.gelu(self.a(x))
        y = self.norm(self.b(y) + x)
        return torch.softmax(y * torch.sigmoid(y), -1), y.exp().sum(-1)


def study(path, inputs, name, *options):
    files = {k: SCRATCH / f"{name}.{k}" for k in ("json", "html", "svg")}
    arrays = SCRATCH / f"{name}.npz"
    np.savez(arrays, *[], **{f"input_{i}": x.numpy() for i, x in enumerate(inputs)})
    text = cli("study", path, "--inputs", arrays, "--threads", "1", *sum(([f"--{k}", v] for k, v in files.items()), []), *options, check=0).stdout
    return json.loads(files["json"].read_text()), text, files, arrays


torch.manual_seed(0)
MODEL, X = Block().eval(), torch.randn(4, 16)
PATH = common.export(MODEL, (X,), "block")
Y, TEXT, FILES, ARRAYS = study(PATH, (X,), "block", "--points", "3", "--rounds", "5", "--beside", "eager PyTorch=1.5,other=0.25")


def test_every_program_gives_what_pytorch_gives():
    artifact = SCRATCH / "native.cierge"
    cli("compile", PATH, "-o", artifact, "--require-native", check=0)
    out = SCRATCH / "native-out.npz"
    cli("run", artifact, "--inputs", ARRAYS, "--outputs", out, check=0)
    with torch.no_grad():
        want = MODEL(X)
    for i, w in enumerate(want):
        common.close(np.load(out)[f"output_{i}"], w)
    differences = [p["difference"] for p in Y["points"]]
    assert all(d is not None and d < 2e-6 for d in differences), differences
    assert any(d > 0 for d in differences), "LibTorch rounds like the native kernels everywhere: nothing was compared"


def test_what_is_offloaded():
    points = Y["points"]
    assert points[0]["kind"] == "native" and points[0]["regions"] == 0 and points[0]["of_native"] == 1
    count = Y["nodes"]
    for mode in ("ops", "script"):
        mine = [p for p in points if p["mode"] == mode]
        by = {k: [p for p in mine if p["kind"] == k] for k in ("whole", "alone", "merged", "front")}
        assert [len(by[k]) for k in by] == [1, 3, 3, 2], by
        assert by["whole"][0]["regions"] == 1 and by["merged"][-1]["regions"] == 1
        for p, q in zip(by["alone"], by["merged"]):
            assert p["regions"] == p["nodes"] > 0 and p["nodes"] == q["nodes"] and q["regions"] <= p["regions"] and q["tensors"] <= p["tensors"], (p, q)
            assert abs(p["nodes"] - p["asked"]) <= 2, p
        for k in ("alone", "merged", "front"):
            nodes = [p["nodes"] for p in by[k]]
            assert nodes == sorted(set(nodes)), nodes
        assert by["alone"][-1]["nodes"] == by["alone"][-1]["asked"] == count
        for p in mine:
            assert p["regions"] > 0 and p["tensors"] >= 2 * p["regions"] and 0 < p["low_us"] <= p["us"] <= p["high_us"], p
    again = study(PATH, (X,), "again", "--points", "3", "--rounds", "1")[0]["points"]
    keys = "kind", "mode", "asked", "nodes", "regions", "tensors", "difference"
    assert [[p[k] for k in keys] for p in again] == [[p[k] for k in keys] for p in points]


def test_the_fit_is_least_squares():
    for f in Y["fit"]:
        points = [p for p in Y["points"] if p["kind"] != "whole" and p["mode"] in ("", f["mode"])]
        assert f["points"] == len(points) == 9 and f["region_us"] >= 0 and f["tensor_us"] >= 0
        terms = [k for k in ("base", "region", "node", "tensor") if f[f"{k}_us_error"]]
        a = np.array([[1 if k == "base" else p[f"{k}s"] for k in terms] for p in points], float)
        y = np.array([p["us"] for p in points])
        cost = np.linalg.lstsq(a, y, rcond=None)[0]
        assert np.allclose(cost, [f[f"{k}_us"] for k in terms], rtol=1e-2, atol=2e-2), (cost, f)
        left = ((y - a @ cost) ** 2).sum()
        assert abs(f["r2"] - (1 - left / ((y - y.mean()) ** 2).sum())) < 1e-3, f
        error = np.sqrt(np.diag(np.linalg.inv(a.T @ a)) * left / (len(points) - len(terms)))
        assert np.allclose(error, [f[f"{k}_us_error"] for k in terms], rtol=1e-2, atol=2e-2), (error, f)


def test_what_is_written():
    assert [(x["name"], x["of_native"]) for x in Y["lines"]] == [("eager PyTorch", 1.5), ("other", 0.25)]
    for word in ("native", "each alone", "merged", "first ones", "eager PyTorch", "ops: us = ", "R²"):
        assert word in TEXT, word
    svg = xml.parse(FILES["svg"]).getroot()
    circles = [e for e in svg.iter() if e.tag.endswith("circle") and len(e)]
    assert len(circles) == 2 * 2 * (3 + 3 + 2), len(circles)  # both panels, both modes
    for e in svg.iter():
        for k in ("x", "cx"):
            assert 0 <= float(e.get(k, 0)) <= 1200, e.attrib
    page = FILES["html"].read_text()
    assert "<svg" in page and "eager PyTorch" in page and "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_one_mode_and_mistakes():
    one = study(PATH, (X,), "one", "--points", "1", "--rounds", "1", "--torch-mode", "ops")[0]
    assert {p["mode"] for p in one["points"]} == {"", "ops"} and [f["mode"] for f in one["fit"]] == ["ops"]
    assert "base_us" not in one["fit"][0]  # three points tell nothing
    for words, code in ((["--beside", "eager"], 2), (["--beside", "a=-1"], 2), (["--points", "0"], 2), (["--require-native"], 5)):
        cli("study", PATH, "--inputs", ARRAYS, *words, check=code)
    cli("study", PATH, "--inputs", ARRAYS, env={"CIERGE_LIBTORCH": "none"}, check=4)


if __name__ == "__main__":
    main(globals())
