# One image for feed, worker and gateway: slim, without root.
#   docker build --build-arg TORCH_INDEX_URL=<address of PyTorch's CPU wheels> -t esblend .
# Without it, PyTorch's default wheel for CUDA is installed.
FROM python:3.12-slim

ARG TORCH_INDEX_URL=""
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 HF_HOME=/models ESBLEND_CACHE_DIR=/cache

WORKDIR /app
COPY constraints.txt pyproject.toml README.md LICENSE ./
RUN pip install -c constraints.txt ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch
COPY esblend esblend
COPY mappings mappings
COPY indexer indexer
COPY workers workers
COPY query query
RUN pip install -c constraints.txt '.[worker,tracing]' \
    && useradd --create-home --uid 10001 esblend \
    && mkdir /models /cache && chown esblend /models /cache

USER esblend
# Models of the hub; exported models and the embedding cache.
VOLUME ["/models", "/cache"]
EXPOSE 9280
ENTRYPOINT ["esblend"]
CMD ["--help"]
