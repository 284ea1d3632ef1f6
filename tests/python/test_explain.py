"""`cierge explain`: as text, as JSON, as a page; what is estimated and what is measured."""
import html.parser
import json
import re

from common import SCRATCH, cli, compile, export, main, np, torch


def cir(name, text):
    path = SCRATCH / f"{name}.cir"
    path.write_text(text)
    return path


def mixed():
    return cir("mixed", """sym u0 = 0..2304
fn @main(%x: f32[48, 48], %c: c64[48]) -> (f32[48], f32[48, 48], c64[48], i64[u0, 2]) {
  %a = aten.mm(%x, %x)
  %b = aten.relu(%a)
  %s: f32[48] = aten.linalg_svdvals(%b)
  %t = aten.exp(%b)
  %d = aten.mul.Tensor(%c, %c)
  %n: i64[u0, 2] = aten.nonzero(%b)
  return %s, %t, %d, %n
}
""")


def arrays():
    path = SCRATCH / "mixed.npz"
    np.savez(path, x=np.random.default_rng(0).normal(size=(48, 48)).astype(np.float32), c=np.ones(48, np.complex64))
    return path


def report(path, *options):
    return json.loads(cli("explain", path, "--json", *options, check=0).stdout)


def left(r):
    return {n["op"]: n for region in r["regions"] for n in region.get("left", [])}


def test_json_says_what_stays_and_why():
    r = report(mixed(), "--torch-ops", "aten.exp")
    assert r["nodes"]["total"] == 6 == sum(r["nodes"][k] for k in ("native", "torch", "host", "folded")), r["nodes"]
    stays = left(r)
    assert set(stays) == {"aten::linalg_svdvals", "aten::exp", "aten::mul.Tensor", "aten::nonzero"}, stays
    for op, kind, word in (("aten::linalg_svdvals", "no native kernel", "no native kernel for aten::linalg_svdvals"), ("aten::exp", "user's rule", "--torch-ops aten.exp"),
                           ("aten::mul.Tensor", "dtype", "complex64"), ("aten::nonzero", "value-dependent shape", "no native kernel")):
        assert stays[op]["kind"] == kind and word in stays[op]["reason"], stays[op]
    assert stays["aten::exp"]["file"].endswith("mixed.cir") and stays["aten::exp"]["line"] == 6
    for region in r["regions"]:
        assert region["bytes_in"] > 0 and region["bytes_out"] > 0 and region["boundary_us"] > 0, region
        assert (region["backend"] == "torch") == ("left" in region)
        if region["backend"] == "torch":
            assert region["mode"] in ("ops", "script") and len(region["left"]) == region["nodes"]
    native = next(x for x in r["regions"] if x["backend"] == "c")
    assert native["bytes_in"] == 48 * 48 * 4 and native["outputs"] == 1


def test_imported_nodes_by_name():
    """Folded, decomposed, inlined: each node of the exported graph has one place."""
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn, self.norm = torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4), torch.nn.LayerNorm(5)

        def forward(self, x):
            with torch.no_grad():
                y = self.norm(self.bn(self.conv(x)))
            values, _ = torch.sort(y.flatten(1), stable=True)
            return torch.linalg.svdvals(y), values[:, : x.shape[0] + 1]

    path = export(Net(), (torch.randn(2, 3, 4, 5),), "imported", {"x": {0: torch.export.Dim("n", max=8)}})
    r = report(path)
    place = {n["name"]: n["place"] for n in r["imported"]}
    assert len(place) == len(r["imported"]) == r["nodes"]["total"], r["imported"]
    for key in ("native", "torch", "host", "folded"):
        assert sum(n["place"] == key for n in r["imported"]) == r["nodes"][key], (key, r["nodes"])
    nodes = [n for n in torch.export.load(path).graph.nodes if n.op == "call_function"]
    names = {n.name for n in nodes if isinstance(n.target, torch._ops.OpOverload)} - {n.name for n in nodes if "wrap" in str(n.target)}
    assert names <= set(place), names - set(place)
    assert place["batch_norm"] == "folded" and place["layer_norm"] == place["conv2d"] == "native" and place["linalg_svdvals"] == "torch", place
    assert "imported" in compile(path)[1]


def test_reasons_of_every_kind():
    path = cir("kinds", """sym s0 = 1..64
sym u0 = 0..64
fn @main(%x: f32[4, 4], %y: f32[s0], %i: i64[]) -> (f32[4], f32[u0]) {
  %h: f32[4, 4] = aten.linalg_matrix_exp(%x)
  %t = aten.t(%h)
  %s: f32[4] = aten.linalg_svdvals(%t)
  %n: int(u0) = aten.item(%i)
  %z: f32[u0] = aten.slice.Tensor(%y, 0, 0, %n)
  return %s, %z
}
""")
    stays = left(report(path))
    assert stays["aten::t"]["kind"] == "not worth it" and "not worth a region of its own" in stays["aten::t"]["reason"], stays
    assert "aten::t" not in left(report(path, "--no-cost-drop")) and "aten::t" not in left(report(path, "--min-region", "1"))
    ruled = left(report(path, "--min-region", "3"))["aten::t"]
    assert ruled["kind"] == "user's rule" and "--min-region 3" in ruled["reason"], ruled
    joined = left(report(cir("joined", "fn @main(%x: f32[4, 4]) -> f32[32, 4] {\n" + "".join(f"  %m{i}: f32[4, 4] = aten.linalg_matrix_exp(%{f'm{i - 1}' if i else 'x'})\n" for i in range(8)) +
                             f"  %c: f32[32, 4] = aten.cat([{', '.join(f'%m{i}' for i in range(8))}], 0)\n  %d: f32[32, 4] = aten.special_bessel_j0(%c)\n  return %d\n}}\n")))
    assert joined["aten::cat"]["kind"] == "not worth it" and re.search(r"saves \d+\.\d us, costs \d+\.\d us\)", joined["aten::cat"]["reason"]), joined
    whole = left(report(path, "--backends", "torch"))
    assert whole["aten::t"]["kind"] == "no native backend", whole


def test_estimates_add_up():
    r = report(mixed())
    total = {"c": 0.0, "torch": 0.0}
    for region in r["regions"]:
        total[region["backend"]] += region["estimate_us"]
    e = r["estimated"]
    assert abs(e["native_us"] - total["c"]) < 0.01 and abs(e["torch_us"] - total["torch"]) < 0.01 and e["boundary_us"] > 0
    for region in r["regions"]:
        if region["backend"] == "torch":
            assert abs(sum(n["estimate_us"] for n in region["left"]) - region["estimate_us"]) < 0.01
    assert report(mixed()) == r, "the same program, another report"


def test_min_region_table():
    rows = {x["n"]: x for x in report(mixed())["min_region"]}
    assert len(rows) >= 5 and rows[1]["nodes"]["native"] > 0 and rows[64]["nodes"]["native"] == 0, rows
    for n in rows:
        r = report(mixed(), "--min-region", str(n))
        for backend, key in (("c", "native"), ("torch", "torch")):
            mine = [x for x in r["regions"] if x["backend"] == backend]
            assert len(mine) == rows[n]["regions"][key] and sum(x["nodes"] for x in mine) == rows[n]["nodes"][key], (n, rows[n])
        estimate = r["estimated"]
        assert abs(sum(estimate.values()) - rows[n]["estimate_us"]) < 0.05, (n, estimate, rows[n])


def test_measured():
    r = report(mixed(), "--measure", "--inputs", arrays(), "--rounds", "5", "--no-cost-drop")
    m = r["measured"]
    assert m["rounds"] == 5 and m["torch_us"] > 0 and m["native_us"] > 0 and m["torch_us"] + m["native_us"] < 1.5 * m["call_us"], m
    assert all(x["measured_us"] > 0 for x in r["regions"])
    text = cli("explain", mixed(), "--measure", "--inputs", arrays(), "--rounds", "3", check=0).stdout
    assert re.search(r"measured time: .* us a call: .*% native, .*% in LibTorch, .*\(medians of 3 calls\)", text), text
    for options, code, word in ((["--measure"], 3, "missing"), (["--rounds", "3"], 2, "--measure"), (["--measure", "--inputs", arrays(), "--rounds", "0"], 2, "--rounds")):
        e = cli("explain", mixed(), *options)
        assert e.returncode == code and word in e.stderr, e


def test_never_silent():
    small = cir("small", "fn @main(%x: f32[3, 3]) -> f32[3] {\n  %a: f32[3] = aten.linalg_svdvals(%x)\n  return %a\n}\n")
    for run in (cli("explain", small, check=0).stdout, cli("compile", small, "-o", SCRATCH / "s.cierge", check=0).stderr):
        assert "nothing was compiled to native code: 1 of 1 nodes stay in LibTorch" in run, run
    many = cir("many", "fn @main(%x: f32[3, 3]) -> f32[3, 3] {\n  %a0: f32[3, 3] = aten.relu(%x)\n" +
               "".join(f"  %a{i + 1}: f32[3, 3] = aten.linalg_matrix_exp(%a{i})\n" for i in range(9)) + "  return %a9\n}\n")
    for run in (cli("explain", many, "--no-cost-drop", check=0).stdout, cli("compile", many, "-o", SCRATCH / "s.cierge", "--no-cost-drop", check=0).stderr):
        assert "little was compiled to native code: 9 of 10 nodes" in run, run
    native = cir("native", "fn @main(%x: f32[3]) -> f32[3] {\n  %a: f32[3] = aten.relu(%x)\n  return %a\n}\n")
    assert cli("compile", native, "-o", SCRATCH / "n.cierge", check=0).stderr == ""
    r = cli("compile", native, "-o", SCRATCH / "n.cierge", "--torch-ops", "aten.gelu", "--torch-modules", "nowhere", check=0)
    assert "--torch-ops aten.gelu: no node" in r.stderr and "--torch-modules nowhere: no node" in r.stderr, r.stderr


class Page(html.parser.HTMLParser):
    """Elements balanced, what refers elsewhere, the report inside."""

    VOID = {"meta", "input", "br", "link", "img"}

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.refers, self.ids, self.report, self.scripts = [], [], set(), "", 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids.add(a.get("id"))
        self.refers += [v for k, v in attrs if k in ("src", "href", "action", "data")]
        if tag not in self.VOID:
            self.open.append((tag, a.get("id")))
            self.scripts += tag == "script"

    def handle_startendtag(self, tag, attrs):
        self.ids.add(dict(attrs).get("id"))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1][0] == tag, f"</{tag}> closes {self.open[-1:]}, line {self.getpos()}"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] == ("script", "report"):
            self.report += data


def test_page():
    path, out = mixed(), SCRATCH / "m.html"
    printed = report(path, "--html", out)
    text = out.read_text()
    page = Page(text)
    assert not page.open and not page.refers and page.scripts == 2 and {"svg", "side", "bars", "tabs", "report"} <= page.ids
    assert not re.search(r"https?://|@import|url\(|<link|//cdn", text), "the page needs something else"
    shown = json.loads(page.report)
    assert shown == printed
    assert {x["name"] for x in shown["regions"]} == {n["region"] for n in shown["graph"]}
    ids = [n["id"] for n in shown["graph"]]
    assert len(set(ids)) == len(ids) == sum(x["nodes"] for x in shown["regions"])
    by_op = {n["op"]: n for n in shown["graph"]}
    assert by_op["aten::linalg_svdvals"]["from"] == [by_op["aten::relu"]["id"]] and by_op["aten::relu"]["from"] == [by_op["aten::mm"]["id"]]


def test_page_holds_any_name():
    """Names of the model never become markup."""
    path = cir("names", 'module source="</script><b>x.py"\norigin 1 = "aten::relu" name="</script>" loc("</script><!--.py":3) in "a</script>"\n'
                        'fn @main(%x: f32[3]) -> f32[3] {\n  %"<script>" = aten.relu(%x) from 1\n  return %"<script>"\n}\n')
    cli("explain", path, "--html", SCRATCH / "n.html", "--backends", "torch", check=0)
    page = Page((SCRATCH / "n.html").read_text())
    assert not page.open and page.scripts == 2
    assert json.loads(page.report)["graph"][0]["name"] == "<script>"


def test_functions_and_big_graphs():
    lines = ["fn @main(%x: f32[16, 16]) -> f32[16, 16] {", "  %b0 = aten.relu(%x)"]
    for i in range(400):
        lines += [f"  %a{i} = aten.sin(%b{i})", f"  %c{i} = aten.add.Tensor(%a{i}, %x)", f"  %b{i + 1}: f32[16, 16] = aten.{'linalg_matrix_exp' if i % 40 == 20 else 'neg'}(%c{i})"]
    path = cir("big", "\n".join(lines + ["  return %b400", "}"]) + "\n")
    cli("explain", path, "--html", SCRATCH / "big.html", check=0)
    shown = json.loads(Page((SCRATCH / "big.html").read_text()).report)
    assert len(shown["graph"]) == 1201 and len(shown["regions"]) > 10
    path = cir("branch", """fn @main(%x: f32[4], %p: bool[]) -> f32[4] {
  %y: f32[4] = higher_order.cond(%p, fn @yes, fn @no, [%x])
  return %y
}
fn @yes(%a: f32[4]) -> f32[4] {
  %b = aten.relu(%a)
  return %b
}
fn @no(%a: f32[4]) -> f32[4] {
  %b = aten.neg(%a)
  return %b
}
""")
    cli("explain", path, "--html", SCRATCH / "b.html", check=0)
    shown = json.loads(Page((SCRATCH / "b.html").read_text()).report)
    assert {n["function"] for n in shown["graph"]} == {"main", "yes", "no"} and [r["function"] for r in shown["regions"]] == ["yes", "no"]


if __name__ == "__main__":
    main(globals())
