"""Serves a language model of random weights by llama.cpp's own OpenAI-compatible server.

    python serve.py FOLDER

Writes the model into FOLDER if it is not there, starts the server on a port of 127.0.0.1 that the system chooses, prints its address,
and ends when standard input does. What the model says has the shape that is asked for (llama.cpp holds it to the JSON schema) and no
sense: weights cannot be downloaded here, and none are needed to see whether two programs understand each other.
"""

import pathlib
import sys

import gguf
import numpy
import xllamacpp

WIDTH, HEADS, FEED_FORWARD, BLOCKS, CONTEXT = 32, 4, 64, 1, 16384


def vocabulary():
    """Three special tokens and one for each byte: any text can be read and written."""
    kind = gguf.TokenType
    tokens = [("<unk>", kind.UNKNOWN), ("<s>", kind.CONTROL), ("</s>", kind.CONTROL)]
    return tokens + [(f"<0x{byte:02X}>", kind.BYTE) for byte in range(256)]


def write(path):
    random = numpy.random.default_rng(1)
    tokens = vocabulary()
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("random")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(
        "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant: "
    )

    def weights(name, *shape):
        writer.add_tensor(name, (random.standard_normal(shape) * 0.2).astype(numpy.float32))

    def ones(name):
        writer.add_tensor(name, numpy.ones(WIDTH, dtype=numpy.float32))

    weights("token_embd.weight", len(tokens), WIDTH)
    weights("output.weight", len(tokens), WIDTH)
    ones("output_norm.weight")
    for block in range(BLOCKS):
        at = f"blk.{block}"
        ones(f"{at}.attn_norm.weight")
        ones(f"{at}.ffn_norm.weight")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights(f"{at}.{part}.weight", WIDTH, WIDTH)
        weights(f"{at}.ffn_gate.weight", FEED_FORWARD, WIDTH)
        weights(f"{at}.ffn_up.weight", FEED_FORWARD, WIDTH)
        weights(f"{at}.ffn_down.weight", WIDTH, FEED_FORWARD)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    path = pathlib.Path(sys.argv[1]) / "random.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = CONTEXT
    parameters.n_parallel = 1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.cpuparams.n_threads = 2
    parameters.warmup = False
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
