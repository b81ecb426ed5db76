#include "bench/engine_library.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "engine/rope.h"
#include "model/network.h"
#include "model/runtime.h"

namespace par5::bench {
namespace {

torch::Tensor matrix_of(const StoredTensor& tensor) {
  const std::vector<float> values = tensor.values();
  std::vector<std::int64_t> shape(tensor.spec.shape.begin(), tensor.spec.shape.end());
  return torch::from_blob(const_cast<float*>(values.data()), shape, torch::kFloat32).clone();
}

torch::Tensor rms(const torch::Tensor& x) { return x * at::rsqrt(x.square().mean(-1, true) + 0x1p-23); }

class EagerModel final : public LibraryModel {
 public:
  explicit EagerModel(const StoredModel& stored)
      : model_(stored.model),
        network_(stored.model, torch::kCPU, torch::kFloat32),
        rope_(make_rotary_table(stored.model, static_cast<std::size_t>(stored.model.context))) {
    if (!network_.load(stored)) throw std::runtime_error("the network cannot load the model");
    network_.require_gradients(false, false);
    const std::int64_t pairs = model_.head_width() / 2;
    cosines_ = torch::from_blob(rope_.cosines.data(), {model_.context, pairs}, torch::kFloat32);
    sines_ = torch::from_blob(rope_.sines.data(), {model_.context, pairs}, torch::kFloat32);
    for (std::int64_t layer = 0; layer < model_.layers; ++layer)
      for (auto* cache : {&keys_, &values_})
        cache->push_back(torch::zeros({1, model_.kv_heads, model_.context, model_.head_width()}));
  }

  double score(std::span<const std::uint16_t> tokens) override {
    const torch::NoGradGuard no_gradients;
    const std::int64_t count = static_cast<std::int64_t>(tokens.size()) - 1;
    const torch::Tensor ids = ids_of(tokens);
    return at::cross_entropy_loss(logits(ids.narrow(0, 0, count), 0), ids.narrow(0, 1, count), {}, at::Reduction::Sum)
        .item<double>();
  }

  double fused_score(std::span<const std::uint16_t> tokens) override {
    const torch::NoGradGuard no_gradients;
    const std::int64_t count = static_cast<std::int64_t>(tokens.size()) - 1;
    const torch::Tensor ids = ids_of(tokens);
    const torch::Tensor hidden = network_.hidden(ids.narrow(0, 0, count).unsqueeze(0)).flatten(0, 1);
    return network_.nats(hidden, ids.narrow(0, 1, count)).sum().item<double>();
  }

  std::span<const float> next(std::uint16_t token, std::int64_t position) override {
    const torch::NoGradGuard no_gradients;
    logits_ = logits(ids_of({&token, 1}), position);
    return {logits_.data_ptr<float>(), static_cast<std::size_t>(logits_.numel())};
  }

  std::uint16_t sample() override {
    const torch::NoGradGuard no_gradients;
    return static_cast<std::uint16_t>(at::multinomial(at::softmax(logits_[0], 0), 1).item<std::int64_t>());
  }

 private:
  torch::Tensor& w(const std::string& name) { return network_.weight(name); }

  static torch::Tensor ids_of(std::span<const std::uint16_t> tokens) {
    torch::Tensor ids = torch::empty({static_cast<std::int64_t>(tokens.size())}, torch::kInt64);
    std::copy(tokens.begin(), tokens.end(), ids.data_ptr<std::int64_t>());
    return ids;
  }

  // Logits [tokens, vocab] of the tokens at positions first … of the one window.
  torch::Tensor logits(const torch::Tensor& ids, std::int64_t first) {
    torch::Tensor x = w("tok_emb.weight").index_select(0, ids);
    if (model_.factored_embedding()) x = at::linear(x, w("embed_proj.weight"));
    x = rms(x);
    const torch::Tensor x0 = x;
    std::vector<torch::Tensor> skips;
    const std::int64_t encoder = model_.layers / 2;
    for (std::int64_t layer = 0; layer < model_.layers; ++layer) {
      const std::string block = "blocks." + std::to_string(layer) + ".";
      if (layer >= encoder && !skips.empty()) {
        x = x + w("skip_weights")[layer - encoder] * skips.back();
        skips.pop_back();
      }
      const torch::Tensor mix = w(block + "resid_mix");
      x = mix[0] * x + mix[1] * x0;
      x = x + w(block + "attn_scale") * attention(block, rms(x), layer, first);
      const torch::Tensor h = at::relu(at::linear(rms(x), w(block + "mlp.fc.weight"))).square();
      x = x + w(block + "mlp_scale") * at::linear(rms(h), w(block + "mlp.proj.weight"));
      if (layer < encoder) skips.push_back(x);
    }
    x = rms(x);
    if (model_.factored_embedding()) x = at::linear(x, w("embed_proj_rev.weight"));
    const torch::Tensor z = at::linear(x, w("tok_emb.weight")) + w("vocab_bias");
    const torch::Tensor u = (z / model_.softcap_value).clamp(-2, 2), s = u.square();
    return model_.softcap_value * (u * (1 - s / 3 + s.square() / 15)).clamp(-1, 1);
  }

  // Of normed [tokens, width]; their keys and values go into the layer's cache.
  torch::Tensor attention(const std::string& block, const torch::Tensor& normed, std::int64_t layer,
                          std::int64_t first) {
    const std::int64_t count = normed.size(0), head = model_.head_width(), kv = model_.kv_heads * head, half = head / 2;
    const torch::Tensor qkv = at::linear(normed, w(block + "attn.c_qkv.weight"));
    const torch::Tensor cosine = cosines_.narrow(0, first, count), sine = sines_.narrow(0, first, count);
    const auto heads = [&](std::int64_t begin, std::int64_t number) {
      return qkv.narrow(1, begin, number * head).view({1, count, number, head}).transpose(1, 2);
    };
    const auto turned = [&](const torch::Tensor& x) {
      const torch::Tensor a = x.narrow(-1, 0, half), b = x.narrow(-1, half, half);
      return at::cat({a * cosine + b * sine, b * cosine - a * sine}, -1);
    };
    const torch::Tensor q =
        turned(rms(heads(0, model_.heads))) * w(block + "attn.q_gain").view({1, model_.heads, 1, 1});
    torch::Tensor &keys = keys_[static_cast<std::size_t>(layer)], &values = values_[static_cast<std::size_t>(layer)];
    keys.narrow(2, first, count).copy_(turned(rms(heads(model_.width, model_.kv_heads))));
    values.narrow(2, first, count).copy_(heads(model_.width + kv, model_.kv_heads));
    // LibTorch's flash attention wants as many key as query heads.
    const auto seen = [&](const torch::Tensor& cache) {
      const torch::Tensor part = cache.narrow(2, 0, first + count);
      return count == 1 ? part : part.repeat_interleave(model_.heads / model_.kv_heads, 1);
    };
    const torch::Tensor mixed =
        at::scaled_dot_product_attention(q, seen(keys), seen(values), {}, 0.0, count > 1, {}, count == 1);
    return at::linear(rms(mixed.transpose(1, 2).reshape({count, model_.width})), w(block + "attn.proj.weight"));
  }

  ModelConfig model_;
  Network network_;
  RotaryTable rope_;
  torch::Tensor cosines_, sines_, logits_;
  std::vector<torch::Tensor> keys_, values_;
};

}  // namespace

std::string library_name() {
  static const bool tuned = (tune_allocator(), true);
  const RuntimeDescription runtime = describe_runtime();
  return tuned ? "LibTorch " + runtime.libtorch_version + ", " + runtime.cpu_capability + ", " + runtime.matrix_products
               : "";
}

void set_library_threads(int threads) { set_threads(threads); }

std::function<void()> library_products(const StoredModel& model, std::int64_t rows, LibraryType type) {
  std::vector<std::pair<torch::Tensor, torch::Tensor>> pairs;  // inputs and weights
  const auto kind = type == LibraryType::float32 ? torch::kFloat32 : torch::kBFloat16;
  for (const StoredTensor& tensor : model.tensors) {
    if (tensor.spec.shape.size() != 2) continue;
    const torch::Tensor weights = matrix_of(tensor).to(kind);
    pairs.emplace_back(torch::randn({rows, weights.size(1)}).to(kind), weights);
  }
  return [pairs] {
    const torch::NoGradGuard no_gradients;
    for (const auto& [x, weights] : pairs) (void)at::linear(x, weights);
  };
}

std::unique_ptr<LibraryModel> library_model(const StoredModel& model) { return std::make_unique<EagerModel>(model); }

}  // namespace par5::bench
