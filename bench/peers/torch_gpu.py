"""The peer of r1's training and sampling on a GPU: a PyTorch program that keeps nothing exact.

    python3 bench/peers/torch_gpu.py train CONFIG.json [--rows 32] [--length 1024] [--eager]
    python3 bench/peers/torch_gpu.py sample CONFIG.json [--sequences 1,64,512] [--prompt 32] [--new 256]

train: steps of next-token training on random tokens: weights in f32, bf16 under autocast, torch.compile (unless --eager), fused AdamW, the
loss in pieces of tokens. The median of 10 steps after 5.
sample: one token per sequence and step at temperature 1 from a key cache of fixed size, the step captured in a CUDA graph, weights in
bf16. The median of 3 runs.
CONFIG is a config.json of llama, qwen2, qwen3 or deepseek_v3; weights are random. Experts are computed for all tokens and weighted by the
router, so that shapes are fixed. Needs torch 2.6 or newer.
"""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)


class Norm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return F.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), self.eps)


class Grouped(nn.Module):
    """Attention with keys and values per group of heads. The cache is [sequences, groups, positions, width], twice."""

    def __init__(self, c):
        super().__init__()
        d, self.heads = c["hidden_size"], c["num_attention_heads"]
        self.groups, self.width = c.get("num_key_value_heads", self.heads), c.get("head_dim") or d // self.heads
        biases = c["model_type"] == "qwen2"
        self.qkv = nn.Linear(d, (self.heads + 2 * self.groups) * self.width, bias=biases)
        self.out = nn.Linear(self.heads * self.width, d, bias=False)
        norms = c["model_type"] == "qwen3"
        self.q_norm, self.k_norm = (Norm(self.width, 1e-6), Norm(self.width, 1e-6)) if norms else (None, None)

    def cache_shapes(self, sequences, positions):
        return [(sequences, self.groups, positions, self.width)] * 2

    def forward(self, x, cos, sin, cache=None, at=None, mask=None):
        B, T, _ = x.shape
        q, k, v = self.qkv(x).view(B, T, -1, self.width).transpose(1, 2).split([self.heads, self.groups, self.groups], 1)
        if self.q_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if cache is not None:
            keys, values = cache
            index = at[:, None, :, None].expand(-1, self.groups, -1, self.width)
            keys.scatter_(2, index, k), values.scatter_(2, index, v)
            k, v = keys, values
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=cache is None, enable_gqa=self.heads != self.groups)
        return self.out(o.transpose(1, 2).reshape(B, T, -1))


class Latent(nn.Module):
    """Latent attention: expanded in training; in sampling the cache holds latents, and queries are absorbed."""

    def __init__(self, c):
        super().__init__()
        d, self.heads = c["hidden_size"], c["num_attention_heads"]
        self.nope, self.rope, self.value, self.rank = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"], c["kv_lora_rank"]
        lora = c.get("q_lora_rank")
        self.q_a = nn.Sequential(nn.Linear(d, lora, bias=False), Norm(lora, 1e-6)) if lora else nn.Identity()
        self.q = nn.Linear(lora or d, self.heads * (self.nope + self.rope), bias=False)
        self.kv_a, self.norm = nn.Linear(d, self.rank + self.rope, bias=False), Norm(self.rank, 1e-6)
        self.kv_b = nn.Parameter(0.02 * torch.randn(self.heads, self.nope + self.value, self.rank))
        self.out = nn.Linear(self.heads * self.value, d, bias=False)

    def cache_shapes(self, sequences, positions):
        return [(sequences, positions, self.rank + self.rope)]

    def forward(self, x, cos, sin, cache=None, at=None, mask=None):
        B, T, _ = x.shape
        q = self.q(self.q_a(x)).view(B, T, self.heads, -1).transpose(1, 2)
        content, turned = q.split([self.nope, self.rope], -1)
        turned = rotate(turned, cos, sin)
        latent, key = self.kv_a(x).split([self.rank, self.rope], -1)
        latent, key = self.norm(latent), rotate(key[:, None], cos, sin)
        up_k, up_v = self.kv_b.to(x.dtype).split([self.nope, self.value], 1)
        scale = (self.nope + self.rope) ** -0.5
        if cache is None:
            k = torch.cat((torch.einsum("btr,hnr->bhtn", latent, up_k), key.expand(-1, self.heads, -1, -1)), -1)
            v = torch.einsum("btr,hvr->bhtv", latent, up_v)
            o = F.scaled_dot_product_attention(torch.cat((content, turned), -1), k, v, is_causal=True, scale=scale)
        else:
            held = cache[0].scatter_(1, at[:, :, None].expand(-1, -1, self.rank + self.rope), torch.cat((latent, key[:, 0]), -1))
            absorbed = torch.cat((torch.einsum("bhtn,hnr->bhtr", content, up_k), turned), -1)
            seen = F.scaled_dot_product_attention(absorbed.transpose(1, 2).reshape(B, 1, T * self.heads, -1), held[:, None],
                                                  held[:, None, :, :self.rank], attn_mask=mask, scale=scale)
            o = torch.einsum("bthr,hvr->bhtv", seen.view(B, T, self.heads, self.rank), up_v)
        return self.out(o.transpose(1, 2).reshape(B, T, -1))


class Mlp(nn.Module):
    def __init__(self, d, f):
        super().__init__()
        self.up, self.down = nn.Linear(d, 2 * f, bias=False), nn.Linear(f, d, bias=False)

    def forward(self, x):
        gate, up = self.up(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)


class Experts(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, f, self.count, self.active = c["hidden_size"], c["moe_intermediate_size"], c["n_routed_experts"], c["num_experts_per_tok"]
        self.factor = c.get("routed_scaling_factor", 1.0)
        self.router = nn.Linear(d, self.count, bias=False)
        self.up = nn.Parameter(0.02 * torch.randn(self.count, d, 2 * f))
        self.down = nn.Parameter(0.02 * torch.randn(self.count, f, d))
        self.shared = Mlp(d, f * c.get("n_shared_experts", 0)) if c.get("n_shared_experts") else None

    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        scores = self.router(flat).float().sigmoid()
        top, chosen = scores.topk(self.active, -1)
        weights = torch.zeros_like(scores).scatter(1, chosen, self.factor * top / top.sum(-1, keepdim=True)).to(x.dtype)
        gate, up = torch.matmul(flat[None], self.up.to(x.dtype)).chunk(2, -1)
        y = torch.einsum("etf,te,efd->td", F.silu(gate) * up, weights, self.down.to(x.dtype)).view_as(x)
        return y if self.shared is None else y + self.shared(x)


class Layer(nn.Module):
    def __init__(self, c, i):
        super().__init__()
        d, eps = c["hidden_size"], c.get("rms_norm_eps", 1e-6)
        self.norm1, self.norm2 = Norm(d, eps), Norm(d, eps)
        self.attention = Latent(c) if c.get("kv_lora_rank") else Grouped(c)
        sparse = c.get("n_routed_experts") and i >= c.get("first_k_dense_replace", 0)
        self.mlp = Experts(c) if sparse else Mlp(d, c["intermediate_size"])

    def forward(self, x, cos, sin, cache=None, at=None, mask=None):
        x = x + self.attention(self.norm1(x), cos, sin, cache, at, mask)
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c, i) for i in range(c["num_hidden_layers"]))
        self.norm = Norm(c["hidden_size"], c.get("rms_norm_eps", 1e-6))
        self.head = nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)
        if c.get("tie_word_embeddings"):
            self.head.weight = self.embed.weight
        width = c.get("qk_rope_head_dim") or c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
        angles = torch.outer(torch.arange(4096).float(), 1 / c.get("rope_theta", 1e4) ** (torch.arange(0, width, 2) / width))
        self.register_buffer("cos", angles.cos()), self.register_buffer("sin", angles.sin())
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens, cache=None, at=None, mask=None):
        x = self.embed(tokens)
        if torch.is_autocast_enabled():
            x = x.to(torch.bfloat16)
        cos, sin = (self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]) if at is None else (self.cos[at][:, None], self.sin[at][:, None])
        cos, sin = cos.to(x.dtype), sin.to(x.dtype)
        for i, layer in enumerate(self.layers):
            x = layer(x, cos, sin, None if cache is None else cache[i], at, mask)
        return self.norm(x)


def loss_of(model, tokens, piece=8192):
    hidden = model(tokens[:, :-1]).reshape(-1, model.head.in_features)
    targets, total = tokens[:, 1:].reshape(-1), 0
    for at in range(0, len(targets), piece):
        part = lambda h, t: F.cross_entropy(model.head(h).float(), t, reduction="sum")
        total = total + torch.utils.checkpoint.checkpoint(part, hidden[at:at + piece], targets[at:at + piece], use_reentrant=False)
    return total / len(targets)


def train(config, args, device):
    model = Transformer(config).to(device)
    count = sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=device == "cuda")
    loss = loss_of if args.eager else torch.compile(loss_of)
    times = []
    for step in range(15):
        tokens = torch.randint(config["vocab_size"], (args.rows, args.length + 1), device=device)
        synchronise(device)
        begin = time.perf_counter()
        with torch.autocast(device, torch.bfloat16):
            value = loss(model, tokens)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        synchronise(device)
        times.append(time.perf_counter() - begin)
    median = statistics.median(times[5:])
    print(f"{args.config}: {count / 1e6:.1f} M parameters, {args.rows} x {args.length} tokens: {1e3 * median:.1f} ms per step, "
          f"{args.rows * args.length / median:,.0f} tokens/s ({'eager' if args.eager else 'compiled'}; loss {value.item():.2f})", flush=True)


@torch.no_grad()
def sample(config, args, device):
    model = Transformer(config).to(device, torch.bfloat16).eval()
    for sequences in map(int, args.sequences.split(",")):
        positions = args.prompt + args.new
        cache = [[torch.zeros(s, device=device, dtype=torch.bfloat16) for s in layer.attention.cache_shapes(sequences, positions)]
                 for layer in model.layers]
        tokens = torch.zeros(sequences, 1, dtype=torch.long, device=device)
        at = torch.zeros(sequences, 1, dtype=torch.long, device=device)
        slots = torch.arange(positions, device=device)

        def step():
            mask = (slots <= at)[:, None, None]
            logits = model.head(model(tokens, cache, at, mask)[:, 0]).float()
            tokens.copy_((logits - torch.log(-torch.log(torch.rand_like(logits).clamp_(1e-10, 1)))).argmax(-1)[:, None])
            at.add_(1).clamp_(max=positions - 1)

        run = step
        for _ in range(3):
            step()
        if device == "cuda":
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
            run = graph.replay
        times = []
        for _ in range(3):
            at.fill_(args.prompt)
            synchronise(device)
            begin = time.perf_counter()
            for _ in range(args.new):
                run()
            synchronise(device)
            times.append(time.perf_counter() - begin)
        median = statistics.median(times)
        print(f"{args.config}: {sequences} sequences, {args.new} new tokens each: {sequences * args.new / median:,.0f} tokens/s, "
              f"{1e3 * median / args.new:.3f} ms per step", flush=True)


def synchronise(device):
    if device == "cuda":
        torch.cuda.synchronize()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["train", "sample"])
    parser.add_argument("config")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--sequences", default="1,64,512")
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--new", type=int, default=256)
    args = parser.parse_args()
    torch.manual_seed(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with open(args.config) as file:
        config = json.load(file)
    (train if args.mode == "train" else sample)(config, args, device)


if __name__ == "__main__":
    main()
