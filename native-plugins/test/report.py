"""Numbers of each compared result, and the worst of each test at the end."""

import os
import sys

import torch

WORST = {}


def compare(case, got, want, cosine=0.99999, ulp=2):
    """`want` is float64. `ulp`: steps of the output's dtype at the row's largest element. One line a case in $MMTRT_TEST_REPORT."""
    g, w = got.double().reshape(-1, got.shape[-1]), want.double().reshape(-1, got.shape[-1])
    bad = int((~torch.isfinite(got.float())).sum())
    norm = g.norm() * w.norm()
    seen = 1.0 if norm == 0 and g.norm() == w.norm() else float((g * w).sum() / norm)
    step = torch.finfo(got.dtype).eps * w.abs().amax(dim=-1, keepdim=True).clamp_min(1e-30)
    steps = float(((g - w).abs() / step).nan_to_num(1e9).max())
    name = os.environ.get("PYTEST_CURRENT_TEST", "").split("::")[-1].split("[")[0]
    before = WORST.get(name, (2.0, 0.0, 0))
    WORST[name] = (min(before[0], seen), max(before[1], steps), before[2] + 1)
    line = f"{name} {case}: cosine {seen:.8f}, {steps:.2f} steps, {bad} not finite"
    if "MMTRT_TEST_REPORT" in os.environ:
        with open(os.environ["MMTRT_TEST_REPORT"], "a") as file:
            file.write(line + "\n")
    worst = int(((g - w).abs() / step).nan_to_num(1e9).argmax())
    where = f"at {divmod(worst, g.shape[1])} {float(g.flatten()[worst])} for {float(w.flatten()[worst])}"
    assert bad == 0 and seen >= cosine and steps <= ulp, f"{line}; {where}"


def summary():
    for name, (seen, steps, count) in WORST.items():
        print(f"{name}: {count} cases, least cosine {seen:.8f}, most steps {steps:.2f}", file=sys.__stdout__, flush=True)
