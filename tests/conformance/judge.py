"""What counts as equal: dtype, shape and None-ness exactly, values as torch.testing.assert_close has them by default
for the dtype (equal_nan), or with an error against a float64 run that is no more than twice PyTorch's own."""
import torch


def _error(x, wide):
    d = (x.to(wide.dtype) - wide).abs()
    d = d[~(torch.isnan(x.to(wide.dtype)) & torch.isnan(wide)) & ~(x.to(wide.dtype) == wide)]
    return float(d.max()) if d.numel() else 0.0


def difference(got, want, wide=None, values=True):
    """None where they agree, else one sentence."""
    if (got is None) != (want is None):
        return f"None-ness differs: got {got if got is None else 'a value'}"
    if want is None:
        return None
    if not isinstance(want, torch.Tensor):
        want = torch.tensor(want, dtype={bool: torch.bool, int: torch.int64, float: torch.float64}[type(want)])
    if got.dtype != want.dtype:
        return f"dtype {got.dtype}, PyTorch gives {want.dtype}"
    if got.shape != want.shape:
        return f"shape {tuple(got.shape)}, PyTorch gives {tuple(want.shape)}"
    if not values:
        return None
    try:
        torch.testing.assert_close(got, want, equal_nan=True)
        return None
    except AssertionError as e:
        text = " ".join(str(e).split())[:200]
    if isinstance(wide, torch.Tensor) and wide.shape == want.shape and (wide.is_floating_point() or wide.is_complex()):
        own, mine = _error(want, wide), _error(got, wide)
        if mine <= 2 * own:
            return None
        text += f" (error against float64 {mine:.3g}, PyTorch's {own:.3g})"
    return text
