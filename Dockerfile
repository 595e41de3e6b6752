# Two images (docs/clusters.md):
#   docker build --target cpu -t holderpo:cpu .   the demo on a CPU
#   docker build --target gpu -t holderpo:gpu .   training on GPUs, on verl's own image

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS cpu
# vLLM's CPU backend links to libnuma. Debian's archive keeps one version of it.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends libnuma1 \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --create-home holderpo && install --directory --owner=holderpo /holderpo
USER 10001
WORKDIR /holderpo
COPY --chown=holderpo . .
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# The same set-up as outside: everything pinned, all but torch by hash.
RUN TORCH_INDEX=$TORCH_INDEX bash scripts/setup.sh && rm -rf ~/.cache
HEALTHCHECK --interval=10m --timeout=2m --start-period=2m \
  CMD ["env", "VERL_PLATFORM=cpu", ".venv/bin/python", "-c", "import verl, vllm, ray, holderpo, recipe.holderpo.plugin"]
CMD ["scripts/demo.sh"]

# vLLM 0.24.0, torch 2.11.0, flash-attn 2.8.3, CUDA 13.0, Python 3.12, as root and without verl.
FROM verlai/verl:vllm024.dev2@sha256:b867883b0dd011363e69ab2ab344922a28c5bd0409e2a324e3ee70fb27ca7543 AS gpu
RUN useradd --uid 10001 --create-home holderpo && install --directory --owner=holderpo /holderpo
WORKDIR /holderpo
COPY --chown=holderpo . .
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# What the image brings stays, by the versions that are installed, however they were; what verl is
# sensitive to has the versions of requirements.lock. verl names torchcodec without a version: 0.11 is
# the one for torch 2.11. Debian's Python refuses to be installed into unless it is told.
RUN export PIP_BREAK_SYSTEM_PACKAGES=1; \
    python3 -c 'from importlib.metadata import version; [print(f"{name}=={version(name)}") for name in ("torch", "torchvision", "torchaudio", "vllm", "flash-attn")]' \
      > /tmp/constraints.txt; \
    grep -q '^torch==2\.11\.0' /tmp/constraints.txt; \
    grep -q '^vllm==0\.24\.0' /tmp/constraints.txt; \
    echo 'torchcodec==0.11.*' >> /tmp/constraints.txt; \
    grep -oE '^(verl|ray|transformers|tensordict|TransferQueue|math-verify)==[^ ]+' requirements.lock \
      >> /tmp/constraints.txt; \
    python3 -m pip install --no-cache-dir --constraint /tmp/constraints.txt \
      --editable . "verl[verl-core]"; \
    rm /tmp/constraints.txt; \
    python3 -c 'import torch, transformers.audio_utils, vllm; found = torch.__version__, vllm.__version__; assert torch.__version__.startswith("2.11.0") and vllm.__version__.startswith("0.24.0"), found'
USER 10001
ENV PYTHON=python3
HEALTHCHECK --interval=10m --timeout=2m --start-period=2m \
  CMD ["python3", "-c", "import verl, vllm, ray, holderpo, recipe.holderpo.plugin"]
# Whatever the image started of its own.
ENTRYPOINT []
CMD ["bash"]
