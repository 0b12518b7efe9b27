#!/usr/bin/env python3
"""Writes tests/golden/grpo.json: the losses of train/grpo_loss.h on random data, by definition, in NumPy.

Gradients are central differences of the losses, in extended precision. Needs numpy only.
"""
import itertools
import json
import pathlib

import numpy as np

rng = np.random.default_rng(7)


def advantages(rewards, normalise):  # [groups, group]
    centred = rewards - rewards.mean(1, keepdims=True)
    scale = {"group": rewards.std(1, keepdims=True) + 1e-6, "batch": rewards.std() + 1e-6, "none": 1.0}[normalise]
    return (centred / scale).reshape(-1)


def ratios(case, logp):  # clipped and not, an array a sample
    for x, old in zip(logp, case["old"]):
        d, n = x - old, len(x)
        rho = np.exp({"token": d, "sequence": np.full(n, d.sum()), "sequence_mean": np.full(n, d.mean())}[case["ratio"]])
        yield rho, np.clip(rho, 1 - case["clip_low"], 1 + case["clip_high"])


def loss(case, logp):
    total, samples, tokens = 0, len(logp), sum(len(x) for x in logp)
    for x, ref, a, (rho, cut), (_, frozen) in zip(logp, case["ref"], case["advantages"], ratios(case, logp), ratios(case, case["logp"])):
        s = -np.minimum(rho * a, cut * a) if case["surrogate"] == "ppo" else -frozen * a * x
        k3 = np.exp(ref - x) - (ref - x) - 1
        w = {"token": 1 / tokens, "sequence": 1 / (samples * len(x)), "constant": 1 / (samples * case["cap"])}[case["aggregate"]]
        total = total + (w * (s + case["kl"] * k3)).sum()
    return total


def gradient(case, h=np.longdouble(1e-6)):
    def moved(i, t, by):
        logp = [x.copy() for x in case["logp"]]
        logp[i][t] += by
        return logp
    return [[(loss(case, moved(i, t, h)) - loss(case, moved(i, t, -h))) / (2 * h) for t in range(len(x))]
            for i, x in enumerate(case["logp"])]


def case(ratio, surrogate, aggregate, normalise, kl):
    f32 = lambda x: x.astype(np.float32).astype(np.longdouble)
    rewards = rng.integers(0, 3, (2, 3)) / 2
    logp = [f32(-3 * rng.random(n)) for n in rng.integers(1, 6, rewards.size)]
    c = {"ratio": ratio, "surrogate": surrogate, "aggregate": aggregate, "normalise": normalise, "kl": kl, "cap": 7,
         "clip_low": 0.2, "clip_high": 0.28, "group": 3, "rewards": rewards.reshape(-1), "advantages": advantages(rewards, normalise),
         "logp": logp, "old": [f32(x + 0.2 * rng.standard_normal(len(x))) for x in logp],
         "ref": [f32(x + 0.3 * rng.standard_normal(len(x))) for x in logp]}
    return c | {"loss": loss(c, logp), "gradient": gradient(c)}


def plain(value):
    return [plain(v) for v in value] if isinstance(value, (list, np.ndarray)) else value if isinstance(value, (str, int)) else float(value)


variants = itertools.product(("token", "sequence", "sequence_mean"), ("ppo", "cispo"), ("token", "sequence", "constant"), (0.0, 0.04))
cases = [case(ratio, surrogate, aggregate, ("group", "batch", "none")[i % 3], kl) for i, (ratio, surrogate, aggregate, kl) in enumerate(variants)]
out = pathlib.Path(__file__).resolve().parent.parent / "golden" / "grpo.json"
out.write_text("[" + ",\n".join(json.dumps({k: plain(v) for k, v in c.items()}) for c in cases) + "]\n")
print(f"{out}: {len(cases)} cases")
