// What LibTorch's libraries (MKL, oneDNN) make of the work that the engine's figures measure. Without LibTorch in the
// build there is no library, and the figures are against our own plain dense kernels alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "pack/stored_model.h"

namespace par5::bench {

// "LibTorch 2.13.0, AVX512, MKL, oneDNN"; empty without a library.
std::string library_name();
void set_library_threads(int threads);

enum class LibraryType { float32, bfloat16 };
// y = x · Wᵀ for every matrix of the model in turn, `rows` rows, weights dense. Null without a library.
std::function<void()> library_products(const StoredModel& model, std::int64_t rows, LibraryType type);

// A whole U-Net in float32, in plain operations of the library unless said otherwise.
class LibraryModel {
 public:
  virtual ~LibraryModel() = default;
  // Cross-entropy in nats of tokens 1 … of one window.
  virtual double score(std::span<const std::uint16_t> tokens) = 0;
  // The same as `eval --engine torch` computes it: with par5's fused operations between the library's products.
  virtual double fused_score(std::span<const std::uint16_t> tokens) = 0;
  // One token after those before it (position 0 begins a text), with cached keys and values; logits [vocab].
  virtual std::span<const float> next(std::uint16_t token, std::int64_t position) = 0;
  // A token drawn from the last logits.
  virtual std::uint16_t sample() = 0;
};
std::unique_ptr<LibraryModel> library_model(const StoredModel& model);

}  // namespace par5::bench
