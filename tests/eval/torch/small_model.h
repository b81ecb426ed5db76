// A small random U-Net, random documents, and what the tests of scorer and learners ask of them.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "eval/score.h"
#include "eval/torch/torch_scorer.h"

namespace par5 {

inline constexpr std::int64_t kVocab = 40;

inline StoredModel random_model(unsigned seed) {
  StoredModel stored;
  stored.model.layers = 3;
  stored.model.width = 32;
  stored.model.heads = 4;
  stored.model.kv_heads = 2;
  stored.model.mlp_width = 64;
  stored.model.vocab = kVocab;
  stored.model.embedding_width = 16;
  stored.model.context = 16;
  stored.model.rope_max_context = 32;
  stored.quantizer.group = 16;
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.3f);
  for (const TensorSpec& spec : tensor_specs(stored.model)) {
    std::vector<float> values(static_cast<std::size_t>(element_count(spec.shape)));
    for (float& value : values) value = normal(random) + (spec.calibration ? 0.7f : 0.0f);
    auto tensor = store_tensor(spec, values, stored.quantizer);
    EXPECT_TRUE(tensor);
    stored.tensors.push_back(std::move(*tensor));
  }
  return stored;
}

// The other backbone, with 16 learned positions and no calibration tensors.
inline StoredModel random_gpt2(unsigned seed) {
  StoredModel stored;
  ModelConfig& model = stored.model;
  model.backbone = Backbone::gpt2;
  model.norm = Norm::layer;
  model.activation = Activation::gelu;
  model.softcap = Softcap::none;
  model.linear_norm = LinearNorm::none;
  model.embedding_storage = EmbeddingStorage::quantized;
  model.vocab_bias = false;
  model.layers = 1;
  model.width = model.embedding_width = 32;
  model.heads = model.kv_heads = 4;
  model.mlp_width = 64;
  model.vocab = kVocab;
  model.context = 16;
  stored.quantizer.granularity = Granularity::tensor;
  std::mt19937 random(seed);
  for (const TensorSpec& spec : tensor_specs(model)) {
    std::vector<float> values(static_cast<std::size_t>(element_count(spec.shape)));
    for (float& value : values) value = std::normal_distribution<float>(0, 0.2f)(random);
    auto tensor = store_tensor(spec, values, stored.quantizer);
    EXPECT_TRUE(tensor);
    stored.tensors.push_back(std::move(*tensor));
  }
  return stored;
}

// LibTorch's number of threads while this lives.
class ThreadCount {
 public:
  explicit ThreadCount(int threads) : before_(at::get_num_threads()) { at::set_num_threads(threads); }
  ~ThreadCount() { at::set_num_threads(before_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int before_;
};

inline std::unique_ptr<TorchScorer> make_scorer(const StoredModel& stored, TorchScorerOptions options = {}) {
  auto scorer = TorchScorer::create(stored, options);
  EXPECT_TRUE(scorer);
  return std::move(*scorer);
}

inline EvalData random_data(std::int64_t targets, unsigned seed) {
  EvalData data;
  std::mt19937 random(seed);
  data.token_bytes.bytes.assign(kVocab, 2);
  data.token_bytes.leading_space.assign(kVocab, 1);
  data.token_bytes.boundary.assign(kVocab, 0);
  data.tokens.push_back(data.bos);
  while (data.targets() < targets)
    data.tokens.push_back(random() % 20 == 0 ? data.bos : static_cast<std::uint16_t>(2 + random() % (kVocab - 2)));
  data.available_targets = targets;
  return data;
}

inline EvalSettings settings(std::int64_t window, std::int64_t stride, std::int64_t batch_tokens) {
  EvalSettings options;
  options.window = window;
  options.stride = stride;
  options.batch_tokens = batch_tokens;
  options.ttt.chunk_tokens = 64;
  options.ttt.lr = 0.05;
  options.ttt_model.chunk_tokens = options.ttt_lora.learning.chunk_tokens = options.online.chunk_tokens = 16;
  options.ttt_model.lr = options.ttt_lora.learning.lr = options.ttt_phased.learning.lr = 0.01;
  options.ttt_phased.documents = 3;
  options.ttt_phased.phases = 2;
  return options;
}

// The whole distribution after one context, by a window of its own.
inline std::vector<float> distribution(TorchScorer& scorer, std::span<const std::uint16_t> context) {
  std::vector<float> row;
  const auto last = static_cast<std::int64_t>(context.size());
  const std::vector<PositionRange> wanted = {{last - 1, last}};
  EXPECT_TRUE(scorer.score({context, last, wanted},
                           [&](std::int64_t, std::int64_t rows, std::span<const float> logs) -> Status {
                             EXPECT_EQ(rows, 1);
                             row.assign(logs.begin(), logs.end());
                             return {};
                           }));
  return row;
}

}  // namespace par5
