#!/usr/bin/env python3
"""Writes tests/golden/ppo.json: one PPO step with a critic, of two epochs, in double precision.

The policy is tests/golden/models/llama-llama3 in transformers, the critic transformers' LlamaForSequenceClassification
with one label on the same trunk, with a head that is stored in the fixture. Everything beside the models is written out:
GAE by its sum, not its recursion; the losses by their definition; AdamW by hand. Needs torch and transformers.
"""
import json
import math
import pathlib

import torch
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

torch.manual_seed(3)
torch.set_default_dtype(torch.float64)
tests = pathlib.Path(__file__).resolve().parent.parent
folder = tests / "golden" / "models" / "llama-llama3"
GAMMA, LAMBDA, REWARD_KL, CLIP, VALUE_CLIP = 0.98, 0.9, 0.05, 0.2, 0.05
LR, CRITIC_LR, BETAS, EPS, NORM = 5e-3, 1e-2, (0.9, 0.95), 1e-8, 1.0

policy = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
critic = LlamaForSequenceClassification.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager", num_labels=1)
head = (0.3 * torch.randn(critic.score.weight.shape)).float().double()
critic.score.weight.data.copy_(head)

draw = lambda n: torch.randint(2, policy.config.vocab_size, (n,)).tolist()
rollouts = []
for prompt, answers in ((draw(6), (3, 9)), (draw(4), (5, 1)), (draw(9), (7,))):
    for n in answers:
        rollouts.append({"prompt": prompt, "answer": draw(n)})
for r, reward in zip(rollouts, (1.0, 0.0, 0.5, 0.0, 1.0)):
    r["reward"] = reward


def hidden_positions(r):  # of the tokens before each answer token
    first, n = len(r["prompt"]), len(r["answer"])
    return slice(first - 1, first - 1 + n)


def logprobs(r):
    tokens = torch.tensor([r["prompt"] + r["answer"]])
    logits = policy(tokens).logits[0, hidden_positions(r)]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(r["answer"])[:, None])[:, 0]


def values(r):
    tokens = torch.tensor([r["prompt"] + r["answer"]])
    return critic.score(critic.model(tokens).last_hidden_state[0, hidden_positions(r)])[:, 0]


f32 = lambda t: t.detach().float().double()
with torch.no_grad():
    for r in rollouts:
        r["old"] = f32(logprobs(r) + 0.05 * torch.randn(len(r["answer"])))  # so that ratios differ from 1 at once
        r["ref"] = f32(r["old"] + 0.3 * torch.randn(len(r["answer"])))
        r["values"] = values(r)
        n, v = len(r["answer"]), r["values"]
        rewards = -REWARD_KL * (r["old"] - r["ref"])
        rewards[-1] += r["reward"]
        delta = [rewards[t] + (GAMMA * v[t + 1] if t + 1 < n else 0.0) - v[t] for t in range(n)]
        r["advantages"] = torch.stack([sum((GAMMA * LAMBDA) ** (k - t) * delta[k] for k in range(t, n)) for t in range(n)])
        r["returns"] = r["advantages"] + v
    everything = torch.cat([r["advantages"] for r in rollouts])
    raw = {"mean": everything.mean().item(), "std": everything.std(correction=0).item()}
    all_returns = torch.cat([r["returns"] for r in rollouts])
    explained = 1 - everything.var(correction=0).item() / all_returns.var(correction=0).item()
    for r in rollouts:
        r["advantages"] = (r["advantages"] - raw["mean"]) / (raw["std"] + 1e-8)

tokens = sum(len(r["answer"]) for r in rollouts)


def policy_loss():
    total = 0
    for r in rollouts:
        ratio = torch.exp(logprobs(r) - r["old"])
        a = r["advantages"]
        total = total - torch.minimum(ratio * a, ratio.clamp(1 - CLIP, 1 + CLIP) * a).sum() / tokens
    return total


def critic_loss():
    total = 0
    for r in rollouts:
        v, old, to = values(r), r["values"], r["returns"]
        cut = torch.minimum(torch.maximum(v, old - VALUE_CLIP), old + VALUE_CLIP)
        total = total + 0.5 * torch.maximum((v - to) ** 2, (cut - to) ** 2).sum() / tokens
    return total


class Adam:
    def __init__(self, model, lr):
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.lr, self.step = lr, 0
        self.m = [torch.zeros_like(p) for p in self.parameters]
        self.v = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def update(self):
        norm = math.sqrt(sum((p.grad ** 2).sum().item() for p in self.parameters))
        scale = NORM / norm if norm > NORM else 1.0
        self.step += 1
        for p, m, v in zip(self.parameters, self.m, self.v):
            g = p.grad * scale
            m.mul_(BETAS[0]).add_(g, alpha=1 - BETAS[0])
            v.mul_(BETAS[1]).add_(g * g, alpha=1 - BETAS[1])
            p -= self.lr * (m / (1 - BETAS[0] ** self.step)) / ((v / (1 - BETAS[1] ** self.step)).sqrt() + EPS)
        return norm


def gradients(model):  # of each tensor its norm, and its product with fixed numbers
    out = {}
    for name, p in model.named_parameters():
        g = p.grad.reshape(-1)
        out[name] = [g.norm().item(), (g * torch.cos(torch.arange(len(g)).double())).sum().item()]
    return out


epochs = []
optimizers = Adam(policy, LR), Adam(critic, CRITIC_LR)
for _ in range(2):
    epoch = {}
    for name, model, optimizer, loss_of in (("policy", policy, optimizers[0], policy_loss), ("critic", critic, optimizers[1], critic_loss)):
        model.zero_grad()
        loss = loss_of()
        loss.backward()
        epoch[name] = {"loss": loss.item(), "gradients": gradients(model), "norm": optimizer.update()}
    epochs.append(epoch)

plain = lambda v: v.tolist() if isinstance(v, torch.Tensor) else v
out = {"gamma": GAMMA, "lambda": LAMBDA, "reward_kl": REWARD_KL, "clip": CLIP, "value_clip": VALUE_CLIP, "lr": LR, "critic_lr": CRITIC_LR,
       "head": head[0].tolist(), "advantage_mean": raw["mean"], "advantage_std": raw["std"], "explained_variance": explained,
       "rollouts": [{k: plain(v) for k, v in r.items()} for r in rollouts], "epochs": epochs}
(tests / "golden" / "ppo.json").write_text(json.dumps(out, indent=1) + "\n")
print("losses:", [{k: v["loss"] for k, v in e.items()} for e in epochs])
