"""Compares r1's logits with llama.cpp's and transformers', position by position: SmolLM2-135M-Instruct (Q4_1), teacher-forced.

    python bench/smollm2_logits.py [--r1 build/r1] [--kv f16|f32] [--f32]

Needs what smollm2_greedy.py needs, and torch and transformers. The rows are that script's prompts, each followed by llama.cpp's greedy
answer. r1 and transformers compute with dequantised weights in f32. Of each pair: the share of positions with the same best token, the
mean KL divergence in nats, the largest difference of a logit.
"""
import argparse
import pathlib
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from smollm2_greedy import END, QUESTIONS, LlamaCpp, R1, packaged_model, prompt_of, write_f32  # noqa: E402


NAMES = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj"}


def transformers_logits(model, rows):
    """Of transformers' Llama with the weights as the gguf package dequantises them."""
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from transformers import LlamaConfig, LlamaForCausalLM

    reader = GGUFReader(model)
    field = lambda key: reader.fields["llama." + key].contents()
    heads = {"attn_q": field("attention.head_count"), "attn_k": field("attention.head_count_kv")}
    state = {}
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        part = tensor.name.split(".")[-2]
        if part in heads:  # the halves of rotary pairs, which lie side by side, go back to the halves of the head
            rows_of, columns = weight.shape
            weight = weight.reshape(heads[part], rows_of // heads[part] // 2, 2, columns).swapaxes(1, 2).reshape(rows_of, columns)
        fixed = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
        name = fixed.get(tensor.name) or f"model.layers.{tensor.name.split('.')[1]}.{NAMES[part]}.weight"
        state[name] = torch.from_numpy(np.ascontiguousarray(weight))
    net = LlamaForCausalLM(LlamaConfig(
        vocab_size=state["model.embed_tokens.weight"].shape[0], hidden_size=field("embedding_length"),
        intermediate_size=field("feed_forward_length"), num_hidden_layers=field("block_count"), num_attention_heads=heads["attn_q"],
        num_key_value_heads=heads["attn_k"], max_position_embeddings=field("context_length"),
        rms_norm_eps=field("attention.layer_norm_rms_epsilon"), tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": float(field("rope.freq_base"))})).float().eval()
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert not unexpected and missing in ([], ["lm_head.weight"]), (missing, unexpected)
    net.tie_weights()
    with torch.no_grad():
        return [net(torch.tensor([row])).logits[0].numpy() for row in rows]


def log_softmax(x):
    x = x.astype(np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def compare(name, a, b):
    agree = np.concatenate([x.argmax(-1) == y.argmax(-1) for x, y in zip(a, b)])
    kl = np.concatenate([(np.exp(log_softmax(x)) * (log_softmax(x) - log_softmax(y))).sum(-1) for x, y in zip(a, b)])
    worst = max(float(np.abs(x - y).max()) for x, y in zip(a, b))
    print(f"{name:32} same best token {100 * agree.mean():6.2f} % of {agree.size}   KL {kl.mean():.3e} nats   largest difference {worst:.3e}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--r1", default="build/r1")
    parser.add_argument("--kv", default="f16", choices=["f16", "f32"])
    parser.add_argument("--f32", action="store_true", help="llama.cpp computes with F32 weights too")
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1, help="llama.cpp's wait for each other: one is faster on a busy machine")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model = packaged_model()
        theirs = model
        if args.f32:
            theirs = folder / "f32.gguf"
            write_f32(model, theirs)
        r1, llama = R1(args.r1, model, f"--dtype f32 --threads {args.threads}", folder), LlamaCpp(theirs, args.kv, args.threads)
        prompts = r1.tokenize([prompt_of(q) for q in QUESTIONS[:args.rows]])
        stop = r1.tokenize([END])[0][0]
        rows, from_llama = [], []
        for prompt in prompts:
            answer, _ = llama.greedy(prompt, 64, stop)
            row = prompt + answer
            llama.llama.reset()
            rows.append(row)
            from_llama.append(np.stack([llama.next_logits([token]) for token in row]))
        ours, reference = r1.logits(rows), transformers_logits(model, rows)
        compare("r1 and transformers", reference, ours)
        compare("llama.cpp and transformers", reference, from_llama)
        compare("llama.cpp and r1", ours, from_llama)


if __name__ == "__main__":
    main()
