"""The packaged model, loaded once in each test process."""

from functools import cache

from esblend.encoder.encoder import Encoder, EncoderOptions, load_encoder


@cache
def packaged_encoder() -> Encoder:
    return load_encoder("minilm", EncoderOptions(threads=1))
