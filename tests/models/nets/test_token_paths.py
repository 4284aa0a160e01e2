"""Paths of a T5: its own step against the library's network, and which token a number chooses."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import T5Config, T5ForConditionalGeneration
from transformers.generation import TopKLogitsWarper
from transformers.modeling_outputs import BaseModelOutput

from loracast.models.nets import token_paths
from loracast.models.nets.token_paths import Decoder, Drawing, chosen, drawn, likeliest, sample_tokens
from loracast.spec import parse
from loracast.tuning.arm import ArmSpec
from loracast.tuning.attach import attach

WINDOWS, PATHS, CONTEXT, HORIZON, VOCABULARY = 3, 5, 20, 7, 64
EOS = 1
FORMS = {
    "as Chronos has it": {},
    "gated, with a head of its own": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "deeper behind than before": {"num_layers": 1, "num_decoder_layers": 3},
}


def network(**changed) -> T5ForConditionalGeneration:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": VOCABULARY}
    torch.manual_seed(0)
    config = T5Config(**sizes | changed, pad_token_id=0, eos_token_id=EOS, decoder_start_token_id=0)
    return T5ForConditionalGeneration(config).eval()


def windows() -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids with padding on the left of one window and a gap in another."""
    ids = torch.randint(2, VOCABULARY, (WINDOWS, CONTEXT), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, :6] = mask[2, 9:12] = False
    return ids * mask, mask


def librarys_scores(net: T5ForConditionalGeneration, tokens: torch.Tensor) -> torch.Tensor:
    """What the library's network says after each of the tokens, all at once; a row a path of a window."""
    ids, mask = (one.repeat_interleave(PATHS, dim=0) for one in windows())
    return net(input_ids=ids, attention_mask=mask, decoder_input_ids=tokens.flatten(0, 1)).logits


def own_scores(net: T5ForConditionalGeneration, tokens: torch.Tensor) -> torch.Tensor:
    decoder = Decoder(net, *windows(), HORIZON)
    kept = token_paths._Kept(net, WINDOWS * PATHS, HORIZON)
    return torch.stack([decoder.step(tokens[:, :, step], step, kept) for step in range(HORIZON)], dim=1)


def some_tokens() -> torch.Tensor:
    tokens = torch.randint(2, VOCABULARY, (WINDOWS, PATHS, HORIZON), generator=torch.Generator().manual_seed(2))
    tokens[:, :, 0] = 0
    return tokens


@pytest.mark.parametrize("at_hand", [0, token_paths.MOST_AT_HAND])
@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_a_step_has_the_scores_of_the_librarys_network(form, at_hand, monkeypatch):
    monkeypatch.setattr(token_paths, "MOST_AT_HAND", at_hand)
    net = network(**FORMS[form])
    torch.testing.assert_close(
        own_scores(net, some_tokens()), librarys_scores(net, some_tokens()), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("method", ["lora", "layernorm", "ia3"])
@torch.no_grad()
def test_what_adapts_the_network_adapts_the_steps(tiny, method):
    from loracast.models.registry import load_backbone

    backbone = load_backbone(str(tiny))
    plain = own_scores(backbone.net, some_tokens())
    found = attach(backbone, parse(ArmSpec, {"model": str(tiny), "method": method}, "The arm").method)
    for parameter in found.trainable.values():
        parameter.add_(0.1)
    adapted = own_scores(backbone.net, some_tokens())
    torch.testing.assert_close(adapted, librarys_scores(backbone.net, some_tokens()), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(adapted, plain, rtol=1e-3, atol=1e-3)


def test_of_one_token_only_the_path_is_the_librarys_greedy_one():
    net = network()
    ids, mask = windows()
    greedy = net.generate(
        input_ids=ids, attention_mask=mask, do_sample=False, num_beams=1, max_new_tokens=HORIZON,
        min_new_tokens=HORIZON, suppress_tokens=[EOS],
    )[:, 1:]  # fmt: skip
    numbers = torch.rand(WINDOWS, 2, HORIZON)
    first = Drawing(EOS, lambda scores: TopKLogitsWarper(1)(torch.empty(0), scores), 1)
    found = sample_tokens(net, ids, mask, numbers, first)
    assert torch.equal(found, greedy[:, None].expand(-1, 2, -1))


def test_paths_drawn_in_parts_are_those_drawn_at_once(monkeypatch):
    net = network()
    numbers = torch.rand(WINDOWS, PATHS, HORIZON, generator=torch.Generator().manual_seed(3))
    every = Drawing(EOS, lambda scores: scores)
    whole = sample_tokens(net, *windows(), numbers, every)
    monkeypatch.setattr("loracast.models.draws.PATHS_AT_ONCE", 2)
    monkeypatch.setattr("loracast.models.draws.PATHS_AT_LEAST", 2)
    assert torch.equal(sample_tokens(net, *windows(), numbers, every), whole)
    assert whole.unique().numel() > PATHS
    assert not (whole == EOS).any()


@torch.no_grad()
def test_the_context_is_read_once_a_window_however_many_paths_there_are(monkeypatch):
    net, read = network(), []
    forward = net.encoder.forward
    monkeypatch.setattr(
        net.encoder, "forward", lambda **given: read.append(given["input_ids"].shape) or forward(**given)
    )
    keys = net.decoder.block[0].layer[1].EncDecAttention.k
    keys.register_forward_hook(lambda _, given, __: read.append(given[0].shape[:2]))
    sample_tokens(net, *windows(), torch.rand(WINDOWS, 40, HORIZON), Drawing(EOS, lambda scores: scores))
    assert read == [(WINDOWS, CONTEXT)] * 2


scores = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).normal(0, 3, (4, 512)).round(1))


@given(scores, st.integers(1, 120))
def test_the_likeliest_are_all_that_are_no_less_than_the_last_of_them(given_scores, least):
    every = torch.from_numpy(given_scores).float()
    some, tokens = likeliest(every, least)
    last = every.topk(least).values[:, -1:]
    for row in range(len(every)):
        real = some[row].isfinite()
        assert (tokens[row][real].diff() > 0).all()
        assert torch.equal(every[row, tokens[row][real]], some[row][real])
        assert set((every[row] >= last[row]).nonzero().flatten().tolist()) <= set(tokens[row][real].tolist())


@given(scores, st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_from_the_likeliest_is_drawn_what_is_drawn_from_all(given_scores, top_k, seed):
    numbers = torch.from_numpy(np.random.default_rng(seed).random(4, np.float32))
    every = torch.from_numpy(given_scores).float()

    def warp(scores):
        return TopKLogitsWarper(top_k)(torch.empty(0), scores)

    some = drawn(every.clone(), numbers, Drawing(EOS, warp, top_k))
    assert torch.equal(some, drawn(every.clone(), numbers, Drawing(EOS, warp, 0)))


@pytest.mark.parametrize("tokens", [1, 31, 32, 33, 500])
def test_a_number_chooses_the_token_in_whose_stretch_it_lies(tokens):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (64, tokens)).astype(np.float32)
    numbers = rng.random(64, np.float32)
    shares = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(1, keepdims=True)
    ends = shares.cumsum(1)
    by_hand = [
        min(np.searchsorted(end, number, "right"), tokens - 1) for end, number in zip(ends, numbers, strict=True)
    ]
    clear = np.abs(ends - numbers[:, None]).min(axis=1) > 1e-6
    assert clear.mean() > 0.9
    found = chosen(torch.from_numpy(logits), torch.from_numpy(numbers)).numpy()
    np.testing.assert_array_equal(found[clear], np.array(by_hand)[clear])


@pytest.mark.parametrize("number", [0.0, 0.5, float(np.nextafter(np.float32(1), np.float32(0)))])
@pytest.mark.parametrize("only", [0, 31, 32, 70])
def test_a_token_without_a_share_is_never_chosen(number, only):
    logits = torch.full((1, 71), -torch.inf)
    logits[0, only] = 3.0
    assert chosen(logits, torch.tensor([number])).item() == only


def test_each_token_is_chosen_as_often_as_its_share_says():
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(0))
    count = 20_000
    numbers = (torch.arange(count) + 0.5) / count
    found = torch.bincount(chosen(logits.expand(count, -1), numbers), minlength=40) / count
    torch.testing.assert_close(found, logits.softmax(-1)[0], rtol=0, atol=1 / count)


@torch.no_grad()
def test_the_first_step_is_common_to_all_paths_of_a_window():
    net = network()
    ids, mask = windows()
    out = net(
        encoder_outputs=BaseModelOutput(net.encoder(input_ids=ids, attention_mask=mask).last_hidden_state),
        attention_mask=mask,
        decoder_input_ids=torch.zeros(WINDOWS, 1, dtype=torch.long),
    ).logits[:, -1]
    out[:, EOS] = -torch.inf
    numbers = torch.full((WINDOWS, PATHS, 1), 0.4)
    tokens = sample_tokens(net, ids, mask, numbers, Drawing(EOS, lambda scores: scores))
    assert torch.equal(tokens[:, :, 0], chosen(out, numbers[:, 0, 0])[:, None].expand(-1, PATHS))
