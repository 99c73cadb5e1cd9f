"""Writes a llama model of half a megabyte with random weights: a real inference server without downloaded ones.

Usage: random_model.py OUTPUT.gguf
"""

import sys

import gguf
import numpy

LAYERS, WIDTH, HEADS, FEED, CONTEXT = 2, 64, 4, 128, 512
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
WORDS = ["▁the", "▁a", "▁is", "▁and", "▁gate", "▁model", "▁answer", "▁hello", "▁world", "▁yes", "▁no", "▁token"]


def vocabulary():
    """Tokens, scores and types: three of control, every byte, letters, a few words."""
    entries = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    entries += [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    letters = [chr(code) for code in range(32, 127)]
    texts = ["▁"] + letters + WORDS
    entries += [(text, -float(rank), 1) for rank, text in enumerate(texts)]
    return entries


def main(path):
    entries = vocabulary()
    random = numpy.random.default_rng(7)

    def weights(*shape):
        return (random.standard_normal(shape) * 0.05).astype(numpy.float32)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(entries))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _, _ in entries])
    writer.add_token_scores([score for _, score, _ in entries])
    writer.add_token_types([kind for _, _, kind in entries])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)

    writer.add_tensor("token_embd.weight", weights(len(entries), WIDTH))
    writer.add_tensor("output_norm.weight", numpy.ones(WIDTH, dtype=numpy.float32))
    writer.add_tensor("output.weight", weights(len(entries), WIDTH))
    for layer in range(LAYERS):
        prefix = f"blk.{layer}"
        writer.add_tensor(f"{prefix}.attn_norm.weight", numpy.ones(WIDTH, dtype=numpy.float32))
        writer.add_tensor(f"{prefix}.ffn_norm.weight", numpy.ones(WIDTH, dtype=numpy.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"{prefix}.{name}.weight", weights(WIDTH, WIDTH))
        writer.add_tensor(f"{prefix}.ffn_gate.weight", weights(FEED, WIDTH))
        writer.add_tensor(f"{prefix}.ffn_up.weight", weights(FEED, WIDTH))
        writer.add_tensor(f"{prefix}.ffn_down.weight", weights(WIDTH, FEED))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1])
