#!/usr/bin/env python3
"""The peer of an r1 GRPO step: the same step in PyTorch on the CPU: same weights, prompts, answer lengths and rewards, float32.

    bench/peers/torch_grpo.py [--r1 build/r1] [--model models/r1-nano-base] [--prompts 32] [--json FILE]
    bench/peers/torch_grpo.py --prompts 2 --group 2 --steps 1 --rounds 1 --threads 1 --eager      # in seconds: only whether both still agree

r1 makes a few steps; the last one's rollouts are the work. PyTorch samples as many tokens for the same prompts with a KV cache (each
prompt is run once for its group, finished rows are dropped every few tokens), scores and differentiates the rollouts (only scores those
whose advantage is 0, as r1 does), and updates with AdamW. Everything that might make PyTorch faster is swept and printed: threads,
torch.compile, the experts computed sparsely or all together, the rows of a micro-batch, how often finished rows are dropped. Then the
best choice of each phase and r1 take turns, and what is compared is the median over the rounds (and, beside it, each one's fastest): a
shared host is now faster, now slower. Log-probs of both must agree. Needs torch, safetensors, numpy.
"""
import argparse
import itertools
import json
import pathlib
import statistics
import subprocess
import tempfile
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file


class Nano(torch.nn.Module):
    """deepseek_v3 without q_lora. Latent attention is in its expanded form, which is faster in PyTorch at these sizes."""

    def __init__(self, directory, dense_experts):
        super().__init__()
        self.c = json.loads((directory / "config.json").read_text())
        self.dense_experts = dense_experts
        self.w = torch.nn.ParameterDict({k.replace(".", "/"): torch.nn.Parameter(v.float())
                                         for k, v in load_file(directory / "model.safetensors").items()})
        c = self.c
        self.heads, self.nope, self.rope, self.v = (c["num_attention_heads"], c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"])
        inverse = c["rope_theta"] ** (-torch.arange(0, self.rope, 2).float() / self.rope)
        angle = torch.outer(torch.arange(c["max_position_embeddings"]).float(), inverse)
        self.cos, self.sin = angle.cos(), angle.sin()
        for layer in range(c["first_k_dense_replace"], c["num_hidden_layers"]):  # the routers' bias is frozen in reinforcement learning
            self.get(layer, "mlp.gate.e_score_correction_bias").requires_grad_(False)
            for name in ("gate", "up", "down"):  # stacked once, for batched products
                key = f"model/layers/{layer}/mlp/experts/{{}}/{name}_proj/weight"
                stack = torch.stack([self.w.pop(key.format(e)).detach() for e in range(c["n_routed_experts"])])
                self.w[f"experts/{layer}/{name}"] = torch.nn.Parameter(stack)

    def get(self, layer, name):
        return self.w[f"model/layers/{layer}/{name.replace('.', '/')}"]

    def norm(self, x, weight):
        return F.rms_norm(x, (x.shape[-1],), weight, self.c["rms_norm_eps"])

    def rotate(self, x, positions):  # interleaved pairs; x [B, T, n, rope]
        cos, sin = self.cos[positions].unsqueeze(-2), self.sin[positions].unsqueeze(-2)
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)

    def attention(self, layer, x, positions, cache, mask):
        B, T, _ = x.shape
        q = F.linear(x, self.get(layer, "self_attn.q_proj.weight")).view(B, T, self.heads, self.nope + self.rope)
        latent = F.linear(x, self.get(layer, "self_attn.kv_a_proj_with_mqa.weight"))
        latent, k_rope = latent.split((self.c["kv_lora_rank"], self.rope), -1)
        kv = F.linear(self.norm(latent, self.get(layer, "self_attn.kv_a_layernorm.weight")), self.get(layer, "self_attn.kv_b_proj.weight"))
        k_nope, v = kv.view(B, T, self.heads, self.nope + self.v).split((self.nope, self.v), -1)
        q_nope, q_rope = q.split((self.nope, self.rope), -1)
        k_rope = self.rotate(k_rope.unsqueeze(2), positions).expand(-1, -1, self.heads, -1)
        q = torch.cat((q_nope, self.rotate(q_rope, positions)), -1).transpose(1, 2)
        k, v = torch.cat((k_nope, k_rope), -1).transpose(1, 2), v.transpose(1, 2)
        if cache is None:
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            keys, values = cache[layer]
            rows = torch.arange(B)
            if T == 1:
                keys[rows, :, positions[:, 0]], values[rows, :, positions[:, 0]] = k[:, :, 0], v[:, :, 0]
                end = mask.shape[-1]
                o = F.scaled_dot_product_attention(q, keys[:, :, :end], values[:, :, :end], attn_mask=mask)
            else:
                keys[:, :, :T], values[:, :, :T] = k, v
                o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return F.linear(o.transpose(1, 2).reshape(B, T, -1), self.get(layer, "self_attn.o_proj.weight"))

    def mlp(self, layer, prefix, x):
        gate, up, down = (self.get(layer, f"{prefix}{n}_proj.weight") for n in ("gate", "up", "down"))
        return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)

    def moe(self, layer, x):
        flat, c = x.reshape(-1, x.shape[-1]), self.c
        scores = torch.sigmoid(F.linear(flat, self.get(layer, "mlp.gate.weight")))
        chosen = (scores + self.get(layer, "mlp.gate.e_score_correction_bias")).topk(c["num_experts_per_tok"], -1).indices
        weight = scores.gather(1, chosen)
        weight = weight / (weight.sum(-1, keepdim=True) + 1e-20) * c["routed_scaling_factor"]
        gate, up, down = (self.w[f"experts/{layer}/{n}"] for n in ("gate", "up", "down"))
        if self.dense_experts:
            full = torch.zeros_like(scores).scatter(1, chosen, weight)
            each = flat.expand(len(gate), -1, -1)
            h = F.silu(torch.bmm(each, gate.mT)) * torch.bmm(each, up.mT)
            out = (torch.bmm(h, down.mT) * full.T.unsqueeze(-1)).sum(0)
        else:
            out = torch.zeros_like(flat)
            for e in range(len(gate)):
                token, slot = (chosen == e).nonzero(as_tuple=True)
                part = flat[token]
                h = F.linear(F.silu(F.linear(part, gate[e])) * F.linear(part, up[e]), down[e])
                out = out.index_add(0, token, h * weight[token, slot].unsqueeze(-1))
        return out.view_as(x) + self.mlp(layer, "mlp.shared_experts.", x)

    def forward(self, tokens, positions, cache=None, mask=None):
        x = F.embedding(tokens, self.w["model/embed_tokens/weight"])
        for layer in range(self.c["num_hidden_layers"]):
            x = x + self.attention(layer, self.norm(x, self.get(layer, "input_layernorm.weight")), positions, cache, mask)
            h = self.norm(x, self.get(layer, "post_attention_layernorm.weight"))
            x = x + (self.mlp(layer, "mlp.", h) if layer < self.c["first_k_dense_replace"] else self.moe(layer, h))
        return self.norm(x, self.w["model/norm/weight"])

    def logits(self, hidden):
        return F.linear(hidden, self.w["lm_head/weight"])


@torch.no_grad()
def generate(model, step, rollouts, drop_every):
    """Runs each prompt once per group and gives every sample its recorded number of tokens. Returns the number of tokens."""
    first = {}
    for r in rollouts:
        first.setdefault(r["prompt"], r["prompt_tokens"])
    prompts = list(first.values())
    group = len(rollouts) // len(prompts)
    longest = max(map(len, prompts)) + max(len(r["tokens"]) for r in rollouts)
    lengths = torch.tensor([len(p) for p in prompts])
    tokens = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long)
    for i, p in enumerate(prompts):
        tokens[i, :len(p)] = torch.tensor(p)
    empty = lambda n, width: torch.zeros(n, model.heads, longest, width)
    cache = [(empty(len(prompts), model.nope + model.rope), empty(len(prompts), model.v)) for _ in range(model.c["num_hidden_layers"])]
    hidden = model(tokens, torch.arange(tokens.shape[1]).expand(len(prompts), -1), cache)
    hidden = hidden[torch.arange(len(prompts)), lengths - 1].repeat_interleave(group, 0)
    cache = [(k.repeat_interleave(group, 0), v.repeat_interleave(group, 0)) for k, v in cache]
    lengths = lengths.repeat_interleave(group)
    left = torch.tensor([len(r["tokens"]) for r in rollouts])
    made = 0
    while True:
        logprobs = torch.log_softmax(model.logits(hidden), -1)
        token = (logprobs - torch.empty_like(logprobs).exponential_().log()).argmax(-1)  # Gumbel noise is faster than multinomial here
        logprobs.gather(1, token.unsqueeze(1))  # a sampler keeps the log-prob, as r1 does
        made += int((left > 0).sum())
        left -= 1
        if (left > 0).sum() == 0:
            return made
        if int(left.max()) % drop_every == 0:
            keep = (left > 0).nonzero().squeeze(1)
            if len(keep) < len(left):
                cache = [(k[keep], v[keep]) for k, v in cache]
                token, lengths, left = token[keep], lengths[keep], left[keep]
        end = int(lengths.max()) + 1
        mask = (torch.arange(end) <= lengths.unsqueeze(1))[:, None, None, :]
        hidden = step(token.unsqueeze(1), lengths.unsqueeze(1), cache, mask)[:, 0]
        lengths = lengths + 1


def train(model, forward, optimizer, rollouts, rows):
    """Runs forward, loss, backward and update. Rows are sorted by length and padded to the longest of their micro-batch."""
    order = sorted(rollouts, key=lambda r: len(r["prompt_tokens"]) + len(r["tokens"]))
    moving, idle = [r for r in order if r["advantage"] != 0], [r for r in order if r["advantage"] == 0]
    scored = sum(len(r["tokens"]) for r in rollouts)
    worst = 0.0
    for begin in range(0, len(moving), rows):
        loss, error = micro_batch(model, forward, moving[begin:begin + rows], scored)
        loss.backward()
        worst = max(worst, error)
    with torch.no_grad():
        for begin in range(0, len(idle), rows):
            worst = max(worst, micro_batch(model, forward, idle[begin:begin + rows], scored)[1])
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return worst


def micro_batch(model, forward, part, scored):
    """Returns the loss and the largest difference of the log-probs from r1's."""
    width = max(len(r["prompt_tokens"]) + len(r["tokens"]) for r in part)
    tokens, old, advantage, mask = (torch.zeros(len(part), width, dtype=torch.long), torch.zeros(len(part), width - 1),
                                    torch.zeros(len(part), 1), torch.zeros(len(part), width - 1))
    for i, r in enumerate(part):
        p, n = len(r["prompt_tokens"]), len(r["tokens"])
        tokens[i, :p + n] = torch.tensor(r["prompt_tokens"] + r["tokens"])
        old[i, p - 1:p + n - 1] = torch.tensor([float.fromhex(x) for x in r["logprobs"]])
        mask[i, p - 1:p + n - 1] = 1
        advantage[i] = r["advantage"]
    positions = torch.arange(width - 1).expand(len(part), -1)
    hidden = forward(tokens[:, :-1], positions)
    where = mask.bool()
    logp = -F.cross_entropy(model.logits(hidden[where]), tokens[:, 1:][where], reduction="none")
    ratio = (logp - old[where]).exp()
    a = advantage.expand_as(old)[where]
    loss = -torch.minimum(ratio * a, ratio.clamp(0.8, 1.2) * a).sum() / scored
    return loss, float((logp.detach() - old[where]).abs().max())


def timed(f):
    begin = time.perf_counter()
    result = f()
    return time.perf_counter() - begin, result


def told(row):
    return (f"threads {row['threads']} {'compiled' if row['compiled'] else 'eager':8} experts {row['experts']:8} "
            + (f"drops every {row['drops_every']}" if row["phase"] == "sample" else f"micro-batches of {row['micro_batch']}"))


class Peer:
    """PyTorch with one choice of threads, compilation and experts. run() takes the other choices."""

    def __init__(self, directory, rollouts, threads, compiled, dense):
        self.rollouts, self.threads = rollouts, threads
        self.choice = {"threads": threads, "compiled": compiled, "experts": "together" if dense else "sparse"}
        self.model = Nano(directory, dense)
        self.optimizer = torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], lr=0.0, betas=(0.9, 0.95), weight_decay=0.0)
        self.step = torch.compile(self.model, dynamic=True) if compiled else self.model
        self.worst = 0.0

    def run(self, phase, **how):
        """Returns a row {"phase", "seconds", "threads", "compiled", "experts", ...}."""
        torch.set_num_threads(self.threads)
        if phase == "sample":
            seconds, _ = timed(lambda: generate(self.model, self.step, self.rollouts, how["drops_every"]))
        else:
            seconds, error = timed(lambda: train(self.model, self.step, self.optimizer, self.rollouts, how["micro_batch"]))
            self.worst = max(self.worst, error)
        return {"by": "torch", "phase": phase, "seconds": seconds, **self.choice, **how}


CHOICES = [("sample", {"drops_every": 8}), ("sample", {"drops_every": 32}), ("train", {"micro_batch": 32}), ("train", {"micro_batch": 128})]


def sweep(directory, rollouts, args):
    """Returns the best row of each phase, and all rows."""
    rows = []
    for threads, compiled, dense in itertools.product(sorted(set(args.threads)), (False,) if args.eager else (False, True), (False, True)):
        torch._dynamo.reset()
        peer = Peer(directory, rollouts, threads, compiled, dense)
        for phase, how in CHOICES:
            peer.run(phase, **how)  # the first run compiles
            rows.append(min((peer.run(phase, **how) for _ in range(2)), key=lambda row: row["seconds"]))
            print(f"  {phase:6} {rows[-1]['seconds']:7.3f} s  {told(rows[-1])}", flush=True)
    return {phase: min((row for row in rows if row["phase"] == phase), key=lambda row: row["seconds"]) for phase in ("sample", "train")}, rows


def take_turns(directory, rollouts, best, args):
    """Runs rounds of r1 and of PyTorch's best choice. Returns a row for each and the largest difference of the log-probs."""
    torch._dynamo.reset()
    peers, hows = {}, {}
    for phase, row in best.items():
        peers[phase] = Peer(directory, rollouts, row["threads"], row["compiled"], row["experts"] == "together")
        hows[phase] = {key: row[key] for key in ("drops_every", "micro_batch") if key in row}
        for _ in range(2):
            peers[phase].run(phase, **hows[phase])
    rows = []
    for number in range(args.rounds):
        last = run_r1(args)[0][-1]
        for phase, seconds in (("sample", last["sample_s"]), ("train", last["train_s"] + last["update_s"])):
            rows.append({"by": "r1", "phase": phase, "seconds": seconds, "round": number})
            rows.append({**peers[phase].run(phase, **hows[phase]), "round": number})
    return rows, max(peer.worst for peer in peers.values())


def run_r1(args):
    """Runs r1 grpo. Returns the metrics of its steps and the rollouts of the last step."""
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        (work / "c.toml").write_text(f'name = "peer"\nseed = 7\nmodel = "{args.model}"\nout = "{work}/run"\n[data]\ntask = "countdown3"\n[rollout]\n'
                                     f"prompts = {args.prompts}\ngroup = {args.group}\nmax_tokens = 112\n"
                                     f"[optimizer]\nlr = 0.0\nsteps = {args.steps}\n[log]\nsamples_every = {args.steps}\n")
        done = subprocess.run([args.r1, "grpo", work / "c.toml"], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        metrics = [json.loads(line) for line in open(work / "run/metrics.jsonl")]
        rollouts = [r for r in map(json.loads, open(work / "run/samples.jsonl")) if r["step"] == args.steps]
    return metrics, rollouts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--r1", default="build/r1")
    parser.add_argument("--model", default="models/r1-nano-base")
    parser.add_argument("--steps", type=int, default=8, help="that r1 makes; the last one is compared")
    parser.add_argument("--rounds", type=int, default=7, help="in which r1 and PyTorch's best take turns")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--group", type=int, default=16)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, torch.get_num_threads()], help="that PyTorch tries; r1 takes all there are")
    parser.add_argument("--eager", action="store_true", help="leave torch.compile out: it compiles for minutes, and is slower at times")
    parser.add_argument("--json")
    args = parser.parse_args()
    rollouts = run_r1(args)[1]
    tokens = sum(len(r["tokens"]) for r in rollouts)
    print(f"{len(rollouts)} samples, {tokens} answer tokens; torch {torch.__version__}", flush=True)
    directory = pathlib.Path(args.model)
    best, swept = sweep(directory, rollouts, args)
    rows, worst = take_turns(directory, rollouts, best, args)
    print(f"largest difference of log-probs: {worst:.2e}")
    assert worst < 1e-3, "the peer computes something else"
    ratios = {}
    for name, pick in (("median", statistics.median), ("fastest", min)):
        seconds = {(by, phase): pick([row["seconds"] for row in rows if (row["by"], row["phase"]) == (by, phase)]) for by in ("r1", "torch") for phase in best}
        for phase in best:
            ratios[f"{phase}_{name}"] = seconds["torch", phase] / seconds["r1", phase]
            print(f"{name:7} {phase:6} r1 {seconds['r1', phase]:.3f} s   torch {seconds['torch', phase]:.3f} s ({told(best[phase])})   ratio {ratios[f'{phase}_{name}']:.1f}")
        ratios[f"step_{name}"] = sum(seconds["torch", phase] for phase in best) / sum(seconds["r1", phase] for phase in best)
        print(f"{name:7} step   ratio {ratios[f'step_{name}']:.1f}")
    if args.json:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
        pathlib.Path(args.json).write_text(json.dumps({"bench": "grpo step against torch", "date": time.strftime("%F"), "commit": commit, "torch": torch.__version__, "samples": len(rollouts),
                                                       "answer_tokens": tokens, "max_logprob_difference": worst, "ratios": ratios, "rows": swept + rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
