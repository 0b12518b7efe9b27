#!/usr/bin/env python3
"""Writes a config.json of the same architecture with small sizes, to try a measurement on a CPU.

    bench/small_shape.py CONFIG.json OUT.json
"""
import json
import sys

SMALL = {"vocab_size": 384, "hidden_size": 96, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 6,
         "num_key_value_heads": 2, "head_dim": 16, "moe_intermediate_size": 32, "n_routed_experts": 4, "num_experts_per_tok": 2,
         "q_lora_rank": 32, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16}


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1]) as file:
        config = json.load(file)
    if config["num_attention_heads"] == config["num_key_value_heads"]:
        config["num_key_value_heads"] = SMALL["num_attention_heads"]
    config.update({key: value for key, value in SMALL.items() if key in config and
                   (key != "num_key_value_heads" or config[key] != SMALL["num_attention_heads"])})
    with open(sys.argv[2], "w") as file:
        json.dump(config, file, indent=2)


if __name__ == "__main__":
    main()
