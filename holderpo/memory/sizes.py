"""What the memory of a run follows from: model, training and rollout engine."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a decoder. Counts of parameters are of the model itself, adapters apart."""

    parameters: int
    """All of them; a matrix that is embedding and output layer counts once."""
    outer_parameters: int
    """Outside of the repeated layers: embedding, output layer, last norm."""
    adapter_parameters: int
    """Of LoRA's adapters, the only ones trained then; 0 without."""
    layers: int
    hidden: int
    intermediate: int
    """Width inside the MLP, for one token."""
    heads: int
    key_value_heads: int
    head_size: int
    vocabulary: int
    is_tied: bool
    """Whether the output layer is the embedding."""
    tensors: tuple[tuple[int, int, int], ...]
    """Rows, numbers in a row, and how many parameters there are of that size; adapters apart."""
    norms_queries: bool = False
    """Whether queries and keys have norms of their own."""

    @property
    def trained(self) -> int:
        """Parameters with a gradient."""
        return self.adapter_parameters or self.parameters

    @property
    def layer_parameters(self) -> int:
        """Of one repeated layer."""
        return (self.parameters - self.outer_parameters) // self.layers

    @property
    def output_matrix(self) -> int:
        """Numbers of the output layer."""
        return self.vocabulary * self.hidden

    @property
    def largest_tensor(self) -> int:
        """Numbers of the largest parameter."""
        return max(rows * width for rows, width, _ in self.tensors)


@dataclass(frozen=True)
class Reference:
    """A reference model of its own, which verl keeps in main memory."""

    number_bytes: int
    shards: int


@dataclass(frozen=True)
class Training:
    """How the actor is trained; ``_bytes`` are of one number."""

    strategy: str
    """verl's fsdp2 or fsdp."""
    gpus: int
    shards: int
    """GPUs that one copy of weights, gradients and optimiser state is spread over."""
    weight_bytes: int
    compute_bytes: int
    reduce_bytes: int
    state_bytes: int
    """Optimiser state of one parameter: 8 for Adam in float32."""
    step_bytes: int
    """What the optimiser step needs in addition for one parameter: 4 for AdamW that works on all
    tensors at once (foreach), in float32."""
    update_tokens: int
    """Of the largest micro-batch on one GPU, padding included."""
    log_prob_tokens: int
    longest: int
    """Tokens of the longest row."""
    packed: bool
    attention: str
    """flash_attention_..., sdpa or eager."""
    flash_cross_entropy: bool
    """Whether the logarithms of the probabilities are made by flash-attn's kernel."""
    checkpoints_layers: bool
    """Whether only the input of each layer is kept (gradient checkpointing)."""
    fused: bool
    """Log-probabilities without the logits of all tokens."""
    scales_logits: bool
    """A temperature other than 1."""
    trains_entropy: bool
    compiles_entropy: bool
    entropy_chunk: int | None
    """Tokens at a time; None for all at once."""
    reshards: bool
    keeps_whole_gradients: bool
    """Gradients are shared out once per update and not after each micro-batch."""
    weights_rest_on_host: bool
    optimizer_rests_on_host: bool
    lives_on_host: bool
    """FSDP2's own offloading: the optimiser step too is on the CPU. The two above are true then."""
    reference: Reference | None = None

    @property
    def is_flash(self) -> bool:
        """Whether attention is flash-attn's, or a kernel of it from the hub."""
        return "flash" in self.attention


@dataclass(frozen=True)
class RolloutEngine:
    """The rollout engine on the same GPUs."""

    share: float
    """Of the card, weights included."""
    gpus: int
    """That one copy of the model is spread over (tensor parallel)."""
    number_bytes: int
    sleeps: bool
    """Whether it gives its memory back for the update."""
    bucket: int
    """In which weights go over."""
    longest: int
    """Tokens of the longest row, for whose keys and values there has to be room."""
