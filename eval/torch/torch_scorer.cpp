#include "eval/torch/torch_scorer.h"

#include <algorithm>

#include "eval/torch/token_tensor.h"
#include "model/runtime.h"

namespace par5 {
namespace {

// Probabilities that are held at a time: small enough to stay in the cache between softmax and sink.
constexpr std::int64_t kBlockValues = std::int64_t{1} << 20;

// The first position that any window of the batch wants.
std::int64_t first_wanted(const WindowBatch& batch) {
  std::int64_t first = batch.length;
  for (const PositionRange& range : batch.wanted) first = std::min(first, range.first);
  return std::min(first, batch.length - 1);
}

// Indices of the wanted rows among the [windows · (length - first)] positions from `first` on.
torch::Tensor wanted_indices(const WindowBatch& batch, std::int64_t first) {
  torch::Tensor indices = torch::empty({batch.wanted_rows()}, torch::kInt64);
  std::int64_t* next = indices.data_ptr<std::int64_t>();
  for (std::int64_t w = 0; w < batch.windows(); ++w) {
    const PositionRange& range = batch.wanted[static_cast<std::size_t>(w)];
    for (std::int64_t p = range.first; p < range.last; ++p) *next++ = w * (batch.length - first) + p - first;
  }
  return indices;
}

}  // namespace

TorchScorer::TorchScorer(const ModelConfig& model, const TorchScorerOptions& options)
    : options_(options),
      network_(model, options.device, options.precision == Precision::bfloat16 ? torch::kBFloat16 : torch::kFloat32) {}

Result<std::unique_ptr<TorchScorer>> TorchScorer::create(const StoredModel& stored, const TorchScorerOptions& options) {
  if (!(options.temperature > 0))
    return bad_data("the model's temperature is " + std::to_string(options.temperature) + "; it must be above 0");
  return guarded([&]() -> Result<std::unique_ptr<TorchScorer>> {
    std::unique_ptr<TorchScorer> scorer(new TorchScorer(stored.model, options));
    P5_OK(scorer->network_.load(stored));
    scorer->network_.set_training(false);
    return scorer;
  });
}

std::string TorchScorer::name() const {
  return std::string("torch ") + (options_.precision == Precision::bfloat16 ? "bfloat16" : "float32");
}

Status TorchScorer::score(const WindowBatch& batch, const Sink& sink) {
  return guarded([&]() -> Status {
    const torch::NoGradGuard no_gradients;
    const std::int64_t position = first_wanted(batch);
    const torch::Tensor tokens = token_tensor(batch.inputs, batch.windows(), batch.length, options_.device);
    torch::Tensor rows = network_.scoring_hidden(tokens, {position, batch.shift}).flatten(0, 1);
    const std::int64_t count = batch.wanted_rows();
    if (count < rows.size(0)) rows = rows.index_select(0, wanted_indices(batch, position).to(options_.device));
    const std::int64_t block = std::max<std::int64_t>(1, kBlockValues / vocab());
    for (std::int64_t first = 0; first < count; first += block) {
      const std::int64_t size = std::min(block, count - first);
      torch::Tensor logits = network_.logits(rows.narrow(0, first, size));
      if (options_.temperature != 1.0) logits = logits / options_.temperature;
      const torch::Tensor logs = torch::log_softmax(logits, 1).to(torch::kCPU).contiguous();
      P5_OK(sink(first, size, {logs.data_ptr<float>(), static_cast<std::size_t>(logs.numel())}));
    }
    return {};
  });
}

}  // namespace par5
