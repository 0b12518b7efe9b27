"""The peer of r1's training and sampling on a GPU: a PyTorch program that keeps nothing exact.

    python3 bench/peers/torch_gpu.py train CONFIG.json [--rows 32] [--length 1024] [--eager] [--transformers] [--json]
    python3 bench/peers/torch_gpu.py sample CONFIG.json [--sequences 1,64,512] [--prompt 32] [--new 256] [--compile] [--json]
    python3 bench/peers/torch_gpu.py check CONFIG.json

train: steps of next-token training on random tokens: weights in f32, bf16 under autocast, torch.compile (unless --eager), gradients
clipped, fused AdamW. The median of 10 steps after 5. --transformers takes the model of that package, in bf16 and eager, instead.
sample: one token per sequence and step at temperature 1 from a key cache of fixed size, the step captured in a CUDA graph, weights in
bf16; --compile has torch.compile fuse the kernels of a layer. The median of 3 runs. There is no prefill: keys of the prompt are zeros.
check: parameters are as many as those of transformers' model; tokens one by one through the cache get the logits of the training
forward; grouped experts are the weighted sum over all experts; the losses of --eager and compiled training agree. It takes a small CONFIG.
CONFIG is a config.json of llama, qwen2, qwen3 or deepseek_v3; weights are random. Training sorts tokens by expert and multiplies each
group by its expert; sampling computes all experts for all tokens, so that shapes are fixed. Needs torch 2.10 or newer.
"""
import argparse
import json
import statistics
import time

import torch
import torch._inductor.config
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
        return F.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), self.eps).to(x.dtype)  # autocast may give f32


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
        if T == 1:  # heads of a group as its queries: kernels that take a mask know no groups
            o = F.scaled_dot_product_attention(q.view(B, self.groups, -1, self.width), k, v, attn_mask=mask)
            return self.out(o.reshape(B, T, -1))
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.groups)
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

    def of_all(self, x, weights, chosen):
        """Every expert for every token; most weights are 0."""
        weights = torch.zeros(len(x), self.count, device=x.device).scatter(1, chosen, weights).to(x.dtype)
        gate, up = torch.matmul(x[None], self.up.to(x.dtype)).chunk(2, -1)
        return torch.einsum("etf,te,efd->td", F.silu(gate) * up, weights, self.down.to(x.dtype))

    def of_chosen(self, x, weights, chosen):
        """Rows sorted by expert, one product per expert."""
        experts, order = chosen.view(-1).sort(stable=True)
        ends = torch.searchsorted(experts, torch.arange(self.count, device=x.device), right=True).to(torch.int32)
        rows = order // self.active
        gate, up = F.grouped_mm(x[rows], self.up.to(x.dtype), offs=ends).chunk(2, -1)
        y = F.grouped_mm(F.silu(gate) * up, self.down.to(x.dtype), offs=ends)
        return torch.zeros_like(x).index_add(0, rows, y * weights.view(-1)[order, None].to(x.dtype))

    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        scores = self.router(flat).float().sigmoid()
        top, chosen = scores.topk(self.active, -1)
        weights = self.factor * top / top.sum(-1, keepdim=True)
        y = (self.of_chosen if self.training else self.of_all)(flat, weights, chosen).view_as(x)
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
        if torch.is_autocast_enabled(tokens.device.type):
            x = x.to(torch.bfloat16)
        cos, sin = (self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]) if at is None else (self.cos[at][:, None], self.sin[at][:, None])
        cos, sin = cos.to(x.dtype), sin.to(x.dtype)
        for i, layer in enumerate(self.layers):
            x = layer(x, cos, sin, None if cache is None else cache[i], at, mask)
        return self.norm(x)


def loss_of(model, tokens):
    hidden = model(tokens[:, :-1]).reshape(-1, model.head.in_features)
    return F.cross_entropy(model.head(hidden).float(), tokens[:, 1:].reshape(-1))


def model_of_transformers(config):
    from transformers import AutoConfig, AutoModelForCausalLM
    named = AutoConfig.for_model(**{k: v for k, v in config.items() if k != "architectures"})
    return AutoModelForCausalLM.from_config(named, attn_implementation="sdpa", dtype=torch.bfloat16)


def train(config, args, device):
    if args.transformers:
        model = model_of_transformers(config).to(device)
        loss, kind = lambda model, tokens: model(tokens, labels=tokens, use_cache=False).loss, "transformers, eager"
    else:
        model = Transformer(config).to(device)
        loss, kind = (loss_of, "eager") if args.eager else (torch.compile(loss_of), "compiled")
    count = sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)
    times = []
    for step in range(5 + args.repeat):
        tokens = torch.randint(config["vocab_size"], (args.rows, args.length + (0 if args.transformers else 1)), device=device)
        synchronise(device)
        begin = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=not args.transformers):
            value = loss(model, tokens)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        synchronise(device)
        times.append(time.perf_counter() - begin)
    median = statistics.median(times[5:])
    show(args, dict(kind=kind, config=args.config, parameters=count, rows=args.rows, length=args.length, step_s=median,
                    first_step_s=times[0], tokens_per_s=args.rows * args.length / median, loss=value.item()),
         f"{args.config}: {count / 1e6:.1f} M parameters, {args.rows} x {args.length} tokens: {1e3 * median:.1f} ms per step, "
         f"{args.rows * args.length / median:,.0f} tokens/s ({kind}; loss {value.item():.2f}; the first step took {times[0]:.0f} s)")


def draw(logits):
    """Tokens at temperature 1, by the Gumbel trick."""
    logits = logits.float()
    return (logits - torch.log(-torch.log(torch.rand_like(logits).clamp(1e-10, 1 - 1e-7)))).argmax(-1)


def cache_of(model, sequences, positions, device, dtype):
    return [[torch.zeros(s, device=device, dtype=dtype) for s in layer.attention.cache_shapes(sequences, positions)]
            for layer in model.layers]


@torch.no_grad()
def sample(config, args, device):
    model = Transformer(config).to(device, torch.bfloat16).eval()
    pick = draw
    if args.compile:
        torch._dynamo.config.recompile_limit = 64
        torch._inductor.config.fallback_random = True  # PyTorch's own draws, which a CUDA graph records
        pick = torch.compile(draw, dynamic=False)
        for layer in model.layers:
            layer.compile(dynamic=False)
    for sequences in map(int, args.sequences.split(",")):
        positions = args.prompt + args.new
        cache = cache_of(model, sequences, positions, device, torch.bfloat16)
        tokens = torch.zeros(sequences, 1, dtype=torch.long, device=device)
        at = torch.zeros(sequences, 1, dtype=torch.long, device=device)
        slots = torch.arange(positions, device=device)

        def step():
            mask = (slots <= at)[:, None, None]
            tokens.copy_(pick(model.head(model(tokens, cache, at, mask)[:, 0]))[:, None])
            at.add_(1).clamp_(max=positions - 1)

        run, begin = step, time.perf_counter()
        for _ in range(3):
            step()
        if device == "cuda":
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
            run = graph.replay
        ready = time.perf_counter() - begin
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
        kind = ("compiled, " if args.compile else "") + ("CUDA graph" if device == "cuda" else "no graph")
        show(args, dict(kind=kind, config=args.config, sequences=sequences, new=args.new, step_s=median / args.new,
                        tokens_per_s=sequences * args.new / median),
             f"{args.config}: {sequences} sequences, {args.new} new tokens each: {sequences * args.new / median:,.0f} tokens/s, "
             f"{1e3 * median / args.new:.3f} ms per step ({kind}; ready after {ready:.0f} s)")


def check(config, args, device):
    """Fails with an AssertionError if the program does not compute what it says."""
    with torch.device("meta"):
        ours = sum(p.numel() for p in Transformer(config).parameters())
        theirs = sum(p.numel() for p in model_of_transformers(config).parameters())
    assert ours == theirs, f"{ours} parameters, transformers has {theirs}"
    print(f"{args.config}: {ours} parameters, as in transformers")
    model = Transformer(config).to(device)
    tokens = torch.randint(config["vocab_size"], (3, 17), device=device)
    model.eval()
    with torch.no_grad():
        whole = model.head(model(tokens))
        cache, slots = cache_of(model, 3, 32, device, torch.float32), torch.arange(32, device=device)
        for i in range(tokens.shape[1]):
            at = torch.full((3, 1), i, device=device)
            one = model.head(model(tokens[:, i:i + 1], cache, at, (slots <= at)[:, None, None]))[:, 0]
            apart = (one - whole[:, i]).abs().max() / whole.abs().max()
            assert apart < 1e-4, f"position {i}: the cache's logits are {apart} apart"
    print("the cache's logits are those of the training forward")
    experts = [m for m in model.modules() if isinstance(m, Experts)]
    if experts:
        x = torch.randn(40, config["hidden_size"], device=device)
        with torch.no_grad():
            sides = [experts[0].train(mode)(x) for mode in (False, True)]
        apart = (sides[0] - sides[1]).abs().max() / sides[0].abs().max()
        assert apart < 1e-4, f"grouped experts are {apart} apart"
        print("grouped experts are the weighted sum over all experts")
    grads = []
    for loss in (loss_of, torch.compile(loss_of)):
        model.train().zero_grad()
        with torch.autocast(device, torch.bfloat16):
            value = loss(model, tokens)
        value.backward()
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters()), "a parameter has no gradient in f32"
        grads.append((value.item(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    (eager, a), (compiled, b) = grads
    apart = ((a - b).norm() / a.norm()).item()
    assert abs(eager - compiled) < 1e-2 and apart < 0.05, f"losses {eager} and {compiled}, gradients {apart} apart"
    hits = draw(torch.tensor([[0.0, 1.0, 2.0]], device=device).expand(1 << 16, 3)).bincount(minlength=3) / (1 << 16)
    want = torch.tensor([0.0, 1.0, 2.0]).softmax(0).to(device)
    assert (hits - want).abs().max() < 0.01, f"draws {hits.tolist()}, expected {want.tolist()}"
    print(f"losses {eager:.4f} eager and {compiled:.4f} compiled, gradients {apart:.1e} apart; draws follow the softmax")


def show(args, values, text):
    print(json.dumps(values) if args.json else text, flush=True)


def synchronise(device):
    if device == "cuda":
        torch.cuda.synchronize()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["train", "sample", "check"])
    parser.add_argument("config")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--transformers", action="store_true")
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sequences", default="1,64,512")
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--new", type=int, default=256)
    args = parser.parse_args()
    torch.manual_seed(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with open(args.config) as file:
        config = json.load(file)
    {"train": train, "sample": sample, "check": check}[args.mode](config, args, device)


if __name__ == "__main__":
    main()
