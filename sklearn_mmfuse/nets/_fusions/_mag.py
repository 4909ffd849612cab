"""MAG: a pretrained language model whose words are shifted by how they are said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from sklearn_mmfuse.nets._encoders import CopiedWeights, global_generator
from sklearn_mmfuse.nets._fusions._aligned import AlignedFusion, align, word_steps
from sklearn_mmfuse.nets._fusions._base import Brought, FusionSetting
from sklearn_mmfuse.nets._fusions._raven import shift_words
from sklearn_mmfuse.nets._layers import MaskReader

__all__ = ["MAGFusion"]


class MAGFusion(AlignedFusion):
    """The Multimodal Adaptation Gate in front of a language model of Hugging Face.

    The embedding Z of every token is shifted by `H = sum_m g_m * (W_m x_m) + b`, no further than
    `shift` times its own length, with gates `g_m = relu(V_m [Z, x_m] + b_m)`. The language model
    reads shifted tokens; its output for the first token represents the row, or that for the last
    one in models that read from left to right, and in XLNet. Where a row has no token, the word is
    the zero vector.

    Rahman, Hasan, Lee, Zadeh, Mao, Morency and Hoque. Integrating Multimodal Information in Large
    Pretrained Transformers. ACL 2020, eqs. 1-5.

    NOTE[DIFF] The gate is at the input embeddings, where any model of Hugging Face takes vectors
    instead of tokens; MAG-BERT's is behind the first layers. There the models normalize on their
    own, so that the gate's layer norm and dropout are left out.

    Parameters
    ----------
    setting : FusionSetting
        Looks at the options `language`, which modality the tokens are; `shift`; `pretrained`, where
        weights come from; `language_config`, see `complete`.
    """

    has_language = True

    def __init__(self, setting: FusionSetting) -> None:
        transformers, config = _transformers(), dict(setting.options["language_config"])
        with global_generator(0):
            language_config = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
            models = [
                transformers.AutoModel.from_config(language_config)
                for _ in range(setting.n_members)
            ]
        width = int(models[0].get_input_embeddings().embedding_dim)
        super().__init__(setting, int(language_config.hidden_size))
        self.models = nn.ModuleList(models)
        self.language = str(setting.options["language"])
        self.pretrained, self.shift = setting.options["pretrained"], setting.options["shift"]
        self.reads_last = language_config.model_type == "xlnet" or _reads_to_the_right(models[0])
        self.others = tuple(name for name in setting.names if name != self.language)
        weights, biases = {}, {"shift": (1, width)}
        for i, name in enumerate(self.others):
            weights[f"gate_{i}"] = (width + setting.in_features[name], width)
            weights[f"shift_{i}"] = (setting.in_features[name], width)
            biases[f"gate_{i}"] = (1, width)
        self.weights = CopiedWeights(
            n_members=setting.n_members, n_copies=1, weights=weights, biases=biases
        )

    @classmethod
    def complete(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options with the language model's configuration: a pickle needs no more.

        Raises
        ------
        ImportError
            When transformers is not installed.
        ValueError
            When there is no such model.
        """
        pretrained = options["pretrained"]
        if pretrained is None:
            raise ValueError(
                "fusion='mag' shifts the words of a pretrained language model; say which, e.g. "
                "pretrained='bert-base-uncased', or the path of a folder that has one."
            )
        try:
            config = _transformers().AutoConfig.from_pretrained(pretrained)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"There is no language model {pretrained!r}, neither in a folder of that name nor "
                f"on the hub: {error}"
            ) from error
        if getattr(config, "is_encoder_decoder", False):
            raise ValueError(
                f"{pretrained!r} is an encoder and a decoder, which writes text; fusion='mag' "
                "needs a model that returns a vector per token, such as BERT, RoBERTa or XLNet."
            )
        if hasattr(config, "use_cache"):
            config.use_cache = False  # of what comes next, which nobody asks for
        return {**options, "language_config": config.to_dict()}

    @property
    def draws_globally(self) -> bool:
        """True: the dropout of language models draws from torch's global generator."""
        return True

    @property
    def unscaled(self) -> tuple[str, ...]:
        """The modalities that must not be standardized: token ids."""
        return (self.language,)

    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Load the pretrained weights into every member and draw the others."""
        with global_generator(0):
            loaded = _transformers().AutoModel.from_pretrained(self.pretrained).state_dict()
        for model in self.models:
            model.load_state_dict(loaded)
        self.weights.reset_copy(0, generators)
        super().reset_parameters(generators)

    def combine(self, brought: Brought, drop: MaskReader | None = None) -> Tensor:
        """Return what the language model makes of the row."""
        steps, valid = align(brought)
        n_members, said = len(self.models), word_steps(brought[self.language], valid)
        said = said.expand(n_members, -1, -1)
        members = {name: x.expand(n_members, -1, -1, -1) for name, x in steps.items()}
        valid = valid.expand(n_members, -1, -1)
        fused = [
            self._read(
                model,
                member,
                {name: x[member] for name, x in members.items()},
                valid[member],
                said[member],
            )
            for member, model in enumerate(self.models)
        ]
        return torch.stack(fused)

    def _read(
        self, model: Any, member: int, steps: Mapping[str, Tensor], here: Tensor, said: Tensor
    ) -> Tensor:
        tokens = steps[self.language][..., 0].long()
        words = model.get_input_embeddings()(tokens) * said.unsqueeze(-1)
        words = shift_words(words, self._shift(words, member, steps), float(self.shift), said)
        states = model(inputs_embeds=words, attention_mask=here.long()).last_hidden_state
        if not self.reads_last:
            return states[:, 0]
        last = (here.sum(dim=1) - 1).clamp_min(0)
        return states[torch.arange(len(states), device=states.device), last]

    def _shift(self, words: Tensor, member: int, steps: Mapping[str, Tensor]) -> Tensor:
        total = self.weights.bias("shift")[member].expand_as(words)
        for i, name in enumerate(self.others):
            seen = torch.cat([words, steps[name]], dim=-1)
            gate = seen @ self.weights.weight(f"gate_{i}")[member]
            gate = torch.relu(gate + self.weights.bias(f"gate_{i}")[member])
            total = total + gate * (steps[name] @ self.weights.weight(f"shift_{i}")[member])
        return total


@torch.no_grad()
def _reads_to_the_right(model: Any) -> bool:
    """Whether the output for a first token knows nothing of a second one."""
    width = model.get_input_embeddings().embedding_dim
    # Of no pattern that a layer norm would make alike.
    words = torch.arange(2.0 * 2 * width).square().sin().view(2, 2, width)
    words[1, 0] = words[0, 0]
    training = model.training
    model.eval()
    mask = torch.ones(2, 2, dtype=torch.long)
    first = model(inputs_embeds=words, attention_mask=mask).last_hidden_state[:, 0]
    model.train(training)
    return bool((first[0] - first[1]).abs().max() < 1e-6)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            "fusion='mag' needs transformers; install it with: "
            "pip install 'sklearn-mmfuse[transformers]'"
        ) from error
    return transformers
