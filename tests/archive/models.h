// Small random models, tokenizers and artifacts for the tests of archive/.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "archive/artifact.h"

namespace par5::test {

inline ModelConfig small_model() {
  ModelConfig model;
  model.layers = 2;
  model.width = 48;
  model.heads = 4;
  model.kv_heads = 2;
  model.mlp_width = 96;
  model.vocab = 300;
  model.embedding_width = 20;
  model.context = 64;
  return model;
}

inline QuantizerConfig small_quantizer(Grid grid = Grid::quinary) {
  QuantizerConfig quantizer;
  quantizer.grid = grid;
  quantizer.group = 24;
  return quantizer;
}

inline TokenizerData small_tokenizer(std::size_t pieces = 300) {
  TokenizerData tokenizer;
  tokenizer.normalizer = "nmt_nfkc";
  tokenizer.normalizer_sha256 = std::string(62, 'a') + "07";
  tokenizer.unknown_surface = " \xe2\x81\x87 ";
  tokenizer.pieces = {{"<pad>", 0, 3}, {"<s>", 0, 3}, {"</s>", 0, 3}, {"<unk>", 0, 2}};
  const char* digits = "0123456789ABCDEF";
  for (int i = 0; i < 256; ++i)
    tokenizer.pieces.push_back({std::string("<0x") + digits[i / 16] + digits[i % 16] + ">", 0, 6});
  for (std::size_t rank = 0; tokenizer.pieces.size() < pieces; ++rank)
    tokenizer.pieces.push_back({"\xe2\x96\x81piece" + std::to_string(rank * 7), -static_cast<float>(rank), 1});
  tokenizer.pieces.resize(pieces);
  return tokenizer;
}

// Weights with columns of different size, some groups all zero, so that every layout and codec has something to do.
inline Artifact random_artifact(const ModelConfig& model, const QuantizerConfig& quantizer, std::uint32_t seed = 1) {
  Artifact artifact;
  artifact.model.model = model;
  artifact.model.quantizer = quantizer;
  std::mt19937 random(seed);
  const auto uniform = [&random] { return static_cast<float>(random() >> 8) * 0x1p-24f; };
  for (const TensorSpec& spec : tensor_specs(model)) {
    std::vector<float> values(static_cast<std::size_t>(element_count(spec.shape)));
    const auto columns = static_cast<std::size_t>(spec.shape.back());
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float column = 0.02f + 0.1f * static_cast<float>(i % columns % 7);
      values[i] = i / columns % 5 == 3 && i % columns < 24 ? 0.0f : column * (uniform() + uniform() - 1.0f);
    }
    artifact.model.tensors.push_back(store_tensor(spec, values, quantizer).value());
  }
  return artifact;
}

}  // namespace par5::test
